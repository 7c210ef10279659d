"""For the API reference: what a reading of the source alone gets wrong."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass, replace
from typing import Any

from griffe import (
    Attribute,
    Class,
    DocstringSectionKind,
    Expr,
    ExprCall,
    ExprKeyword,
    ExprName,
    ExprSubscript,
    Extension,
    Function,
    Object,
    Parameter,
    ParameterKind,
    Parameters,
)

DEFINING = {"attrs.define", "attrs.frozen"}
ROOT_ERROR = "aichatfree_sdk.errors.AIChatFreeError"


class OneExample(Extension):
    """Read the heading ``Example:`` as ``Examples:``; Griffe takes a doctest for quotations under the former."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)


class AttrsSignatures(Extension):
    """Give each attrs class the ``__init__`` of its fields, which attrs writes and the source does not have."""

    def on_class(self, *, cls: Class, **kwargs: Any) -> None:
        if "__init__" in cls.members or DEFINING.isdisjoint(decorator.callable_path for decorator in cls.decorators):
            return
        fields = [parameter(member) for member in cls.members.values() if isinstance(member, Attribute)]
        arguments = sorted(filter(None, fields), key=lambda each: each.kind is ParameterKind.keyword_only)
        me = Parameter("self", kind=ParameterKind.positional_or_keyword)
        init = Function("__init__", parameters=Parameters(me, *arguments), returns="None", parent=cls)
        cls.set_member("__init__", init)


def parameter(attribute: Attribute) -> Parameter | None:
    """Return the argument that sets a field, or None where there is none."""
    if attribute.annotation is None or "property" in attribute.labels:
        return None
    annotation, default, keyword_only = attribute.annotation, attribute.value, False
    if isinstance(default, ExprCall) and default.canonical_path == "attrs.field":
        options = {each.name: each.value for each in default.arguments if isinstance(each, ExprKeyword)}
        if str(options.get("init")) == "False":
            return None
        annotation = taken_by(options.get("converter"), attribute) or annotation
        factory = options.get("factory")
        default = f"{str(factory).partition('[')[0]}()" if factory is not None else options.get("default")
        keyword_only = str(options.get("kw_only")) == "True"
    kind = ParameterKind.keyword_only if keyword_only else ParameterKind.positional_or_keyword
    return Parameter(attribute.name.lstrip("_"), annotation=annotation, kind=kind, default=default)


def taken_by(converter: object, attribute: Attribute) -> Expr | None:
    """Return the type that a converter of the same module takes, where it says more than ``object``."""
    function = attribute.module.members.get(str(converter))
    if not isinstance(function, Function):
        return None
    annotation = function.parameters[0].annotation
    return annotation if isinstance(annotation, Expr) and str(annotation) != "object" else None


class Values(Extension):
    """Give defaults as a reader needs them: of the SDK's constants the value, of ``*`` and ``**`` none."""

    def on_function(self, *, func: Function, **kwargs: Any) -> None:
        for each in func.parameters:
            if each.kind in (ParameterKind.var_positional, ParameterKind.var_keyword):
                each.default = None  # Griffe has () and {}, which read as if one could give them
            if isinstance(each.default, ExprName) and each.default.canonical_path.startswith("aichatfree_sdk."):
                constant = func.modules_collection[each.default.canonical_path]
                each.default = constant.value if isinstance(constant, Attribute) else each.default


class Inherited(Extension):
    """Write down in a class what it has from its bases, in its own terms."""

    def on_class(self, *, cls: Class, **kwargs: Any) -> None:
        make_concrete(cls)
        if cls.path != ROOT_ERROR and any(base.path == ROOT_ERROR for base in cls.mro()):
            add_inherited_attributes(cls)


def make_concrete(cls: Class) -> None:
    """Give a subclass of a generic class an ``__init__`` that names its own type in place of the variable."""
    base = cls.bases[0] if cls.bases else None
    if "__init__" in cls.members or not isinstance(base, ExprSubscript) or not cls.resolved_bases:
        return
    parent = cls.resolved_bases[0]
    variable = next((each.slice for each in parent.bases if str(each).startswith("Generic[")), None)
    if variable is None:
        return
    arguments = [
        Parameter(
            each.name,
            annotation=put_in(each.annotation, str(variable), base.slice),
            kind=each.kind,
            default=each.default,
        )
        for each in parent.members["__init__"].parameters
    ]
    cls.set_member("__init__", Function("__init__", parameters=Parameters(*arguments), returns="None", parent=cls))


def put_in(expression: Any, variable: str, own: Any) -> Any:
    """Return an annotation with ``own`` in the place of a type variable."""
    if isinstance(expression, ExprName):
        return own if expression.name == variable else expression
    if not is_dataclass(expression):
        return expression
    changes = {each.name: put_in(getattr(expression, each.name), variable, own) for each in fields(expression)}
    return replace(expression, **changes)


def add_inherited_attributes(cls: Class) -> None:
    """Add to an error's docstring which attributes it has from its bases."""
    found = []
    for base in cls.mro():
        if base.docstring is None or not base.path.startswith("aichatfree_sdk.errors."):
            continue
        sections = base.docstring.parse("google")
        own = [each for part in sections if part.kind is DocstringSectionKind.attributes for each in part.value]
        if own:
            names = ", ".join(f"`{each.name}: {each.annotation}`" for each in own)
            found.append(f"of [`{base.name}`][aichatfree_sdk.{base.name}]: {names}")
    if cls.docstring is not None and found:
        cls.docstring.value += f"\n\nAttributes {'; '.join(found)}."
