"""For the API reference: what a reading of the source alone gets wrong."""

from __future__ import annotations

import re
from typing import Any

from griffe import (
    Attribute,
    Class,
    ExprCall,
    ExprKeyword,
    Extension,
    Function,
    Object,
    Parameter,
    ParameterKind,
    Parameters,
)

DEFINING = {"attrs.define", "attrs.frozen"}


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
    default, keyword_only = attribute.value, False
    if isinstance(default, ExprCall) and default.canonical_path == "attrs.field":
        options = {each.name: each.value for each in default.arguments if isinstance(each, ExprKeyword)}
        if str(options.get("init")) == "False":
            return None
        factory = options.get("factory")
        default = f"{factory}()" if factory is not None else options.get("default")
        keyword_only = str(options.get("kw_only")) == "True"
    kind = ParameterKind.keyword_only if keyword_only else ParameterKind.positional_or_keyword
    return Parameter(attribute.name.lstrip("_"), annotation=attribute.annotation, kind=kind, default=default)
