"""AIChatFree: the provider class that g4f once had, over `AsyncClient`; g4f itself is not needed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ClassVar, TypeGuard, cast

from .async_client import AsyncClient
from .config import DEFAULT_BASE_URL, DEFAULT_MODEL
from .conversation import Message, MessageLike, to_messages
from .core.signing import generate_signature
from .transports.base import AsyncTransport

if TYPE_CHECKING:
    import aiohttp

    from .transports.aiohttp import AiohttpTransport

# What of **kwargs is ours; g4f's own options, which arrive there too, have no field on the wire.
_OPTIONS = ("base_url", "password", "secret", "timeout", "headers")


class AIChatFree:
    """A provider for g4f's ``Client`` and ``AsyncClient``, and just as usable without g4f, on asyncio and trio.

    A subclass, or an assignment, that changes ``url`` or ``default_model`` makes a provider for another deployment.

    Attributes:
        url: the deployment; the public one gives way to ``AICHATFREE_BASE_URL``, any other is used as it is.
        working: True, without which g4f refuses a provider.
        supports_stream: True.
        supports_message_history: True.
        supports_system_message: True; system texts are folded into the first user message.
        default_model: the model the deployment serves; no other can be asked for.
        needs_auth: False, so that g4f looks for no API key.
        use_stream_timeout: True, so that g4f puts no clock of its own over ``timeout``.
        live: g4f's count of good answers minus failures.

    Example:
        >>> from aichatfree_sdk.provider import AIChatFree
        >>> class MyChat(AIChatFree):
        ...     url = "https://chat.example.org"
        >>> MyChat.get_dict()["url"]
        'https://chat.example.org'
    """

    url: ClassVar[str] = DEFAULT_BASE_URL
    working: ClassVar[bool] = True
    supports_stream: ClassVar[bool] = True
    supports_message_history: ClassVar[bool] = True
    supports_system_message: ClassVar[bool] = True
    default_model: ClassVar[str] = DEFAULT_MODEL
    needs_auth: ClassVar[bool] = False
    use_stream_timeout: ClassVar[bool] = True
    live: ClassVar[int] = 0

    @classmethod
    def create_async_generator(
        cls,
        model: str | None,
        messages: str | Message | Sequence[MessageLike],
        proxy: str | None = None,
        connector: AsyncTransport | aiohttp.BaseConnector | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[str, None]:
        """Return an async generator of the answer's deltas, which sends at its first read.

        Closing it early drops the connection: put ``contextlib.aclosing`` around a loop that may leave it.

        Args:
            model: the deployment's model; ``""`` or None is ``default_model``.
            messages: the history, the question last: ``{"role", "content"}`` mappings, of which other keys are left
                out, or `Message` objects.
            proxy: the URL of an HTTP or SOCKS proxy; ``""`` or None is none.
            connector: an aiohttp connector to send through, on asyncio, with an HTTP ``proxy`` or none; or an
                `AsyncTransport`, without ``proxy``. It stays open and yours to close.
            kwargs: ``base_url``, ``password``, ``secret``, ``headers`` and ``timeout`` (a `Timeout`, or seconds for the
                whole call) are those of `AsyncClient`, which takes the first three from ``AICHATFREE_*`` where they
                are left out. All else is ignored, as the protocol has no field for it: ``stream``, ``temperature``,
                ``max_tokens``, ``stop``, ``conversation``, ``tools``, ``media``, ``api_key``, ``stream_timeout`` and
                whatever g4f adds; of these g4f itself sees to ``stop``, ``max_tokens``, ``tools``, ``stream_timeout``.

        Returns:
            An async generator of str, never empty ones.

        Raises:
            TypeError: at once: ``connector`` is neither.
            InvalidArgumentError: at once: ``proxy`` or an option of ``kwargs`` cannot work; at the first read, with
                nothing sent: ``messages`` cannot, or an aiohttp connector on trio.
            UnsupportedModelError: at the first read, with nothing sent: another model than ``default_model``.
            AIChatFreeError: while reading: what `AsyncClient.stream` raises, unchanged.

        Example:
            >>> import asyncio
            >>> from aichatfree_sdk.provider import AIChatFree
            >>> async def main():
            ...     messages = [{"role": "user", "content": "Hello"}]
            ...     async for delta in AIChatFree.create_async_generator("", messages):
            ...         print(delta, end="")
            >>> asyncio.run(main())
            You said: Hello
        """
        options = {name: kwargs[name] for name in _OPTIONS if kwargs.get(name) is not None}
        if cls.url.rstrip("/") != DEFAULT_BASE_URL:
            options.setdefault("base_url", cls.url)
        proxy, made = proxy or None, None
        if _is_aiohttp(connector):
            from .transports.aiohttp import AiohttpTransport

            made, proxy = AiohttpTransport(connector, proxy=proxy), None
        client = AsyncClient(
            model=cls.default_model, proxy=proxy, transport=made or _to_transport(connector), **options
        )
        return _deltas(client, messages, model or None, made)

    @classmethod
    def get_dict(cls) -> dict[str, str | None]:
        """Return the name, the URL and the label, which g4f puts into its answers."""
        return {"name": cls.__name__, "url": cls.url, "label": getattr(cls, "label", None)}

    @classmethod
    def get_parent(cls) -> str:
        """Return the name that g4f's retrying providers know this one by."""
        return cls.__name__

    @classmethod
    def get_models(cls, **kwargs: object) -> list[str]:
        """Return the one model, for g4f's ``client.models``; ``kwargs`` (an API key) are ignored."""
        return [cls.default_model]


async def _deltas(
    client: AsyncClient, messages: object, model: str | None, made: AiohttpTransport | None
) -> AsyncGenerator[str, None]:
    # Model and messages are checked in here, not at the call: another provider may well take them, but g4f 8.8's
    # RotatedProvider goes on to the next one only after an error that comes from the reading (one from the call ends
    # in its own UnboundLocalError).
    #
    # A generator that yields inside a cancel scope or a task group corrupts both when it is abandoned, or read by
    # several tasks in turn, which g4f's blocking client does: a task for each delta. Yielding here is safe, since
    # none of these context managers keeps a scope open between reads: what they hold is a connection.
    async with made or contextlib.nullcontext(), client, client.stream(_to_prompt(messages), model=model) as stream:
        async for delta in stream:
            yield delta


def _is_aiohttp(connector: object) -> TypeGuard[aiohttp.BaseConnector]:
    library = sys.modules.get("aiohttp")  # without which nothing can be a connector of its
    return library is not None and isinstance(connector, library.BaseConnector)


def _to_transport(connector: object) -> AsyncTransport | None:
    if connector is None:
        return None
    methods = [getattr(connector, name, None) for name in ("open", "aclose")]
    if not isinstance(connector, type) and all(map(iscoroutinefunction, methods)):
        return cast("AsyncTransport", connector)
    # Its type alone: a str in its place may be the URL of a proxy, with a password in it.
    given = f"the class {connector.__name__}" if isinstance(connector, type) else type(connector).__name__
    raise TypeError(
        "connector must be None, an aiohttp connector, or an async transport of this SDK, such as "
        "AsyncHttpxTransport(): an object with "
        f"`async def open(request, limits)` and `async def aclose()`, not {given}"
    )


def _to_prompt(messages: object) -> tuple[Message, ...]:
    if isinstance(messages, (list, tuple)):
        items = cast("Sequence[object]", messages)
        messages = [_role_and_content(item) for item in items]
    return to_messages("messages", messages)


def _role_and_content(item: object) -> object:
    """Leave out what clients of the OpenAI kind keep in a message besides, such as ``name`` or ``tool_calls``."""
    if not isinstance(item, Mapping):
        return item
    message = cast("Mapping[object, object]", item)
    return {key: message[key] for key in ("role", "content") if key in message}


__all__ = ["AIChatFree", "generate_signature"]
