"""openai's SDK."""

from __future__ import annotations

from openai import AsyncOpenAI, OpenAI

from .question import MESSAGES


def client(url: str, streams: int) -> OpenAI:
    return OpenAI(base_url=url, api_key="k", timeout=60)


def answer(client: OpenAI, texts: list[str]) -> None:
    for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)


def async_client(url: str, streams: int) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=url, api_key="k", timeout=60)


async def async_answer(client: AsyncOpenAI, texts: list[str]) -> None:
    async for chunk in await client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            texts.append(chunk.choices[0].delta.content)
