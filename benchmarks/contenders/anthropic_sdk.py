"""anthropic's SDK."""

from __future__ import annotations

from anthropic import Anthropic, AsyncAnthropic

from .question import MESSAGES


def client(url: str, streams: int) -> Anthropic:
    return Anthropic(base_url=url, api_key="k", timeout=60)


def answer(client: Anthropic, texts: list[str]) -> None:
    with client.messages.stream(model="m", max_tokens=1, messages=MESSAGES) as stream:
        for text in stream.text_stream:
            texts.append(text)


def async_client(url: str, streams: int) -> AsyncAnthropic:
    return AsyncAnthropic(base_url=url, api_key="k", timeout=60)


async def async_answer(client: AsyncAnthropic, texts: list[str]) -> None:
    async with client.messages.stream(model="m", max_tokens=1, messages=MESSAGES) as stream:
        async for text in stream.text_stream:
            texts.append(text)
