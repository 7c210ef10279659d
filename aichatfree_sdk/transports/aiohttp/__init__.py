"""aiohttp, for asyncio and many streams at once: it reads a delta for a fraction of what httpx takes."""

try:
    from .transport import AiohttpTransport
except ImportError as error:
    raise ImportError("AiohttpTransport needs aiohttp: pip install 'aichatfree-sdk[aiohttp]'") from error

__all__ = ["AiohttpTransport"]
