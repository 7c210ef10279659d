"""aiohttp, for asyncio and many streams at once: it reads a delta for a fraction of what httpx takes."""

try:
    import aiohttp as _aiohttp  # noqa: F401
except ImportError as error:
    raise ImportError("AiohttpTransport needs aiohttp: pip install 'aichatfree-sdk[aiohttp]'") from error

from .transport import AiohttpTransport

__all__ = ["AiohttpTransport"]
