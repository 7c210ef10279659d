"""A loop over requests, as one writes it by hand."""

from __future__ import annotations

import requests

from .question import payload


def client(url: str, streams: int) -> requests.Session:
    session = requests.Session()
    session.headers["X-URL"] = url
    return session


def answer(client: requests.Session, texts: list[str]) -> None:
    url = f"{client.headers['X-URL']}/api/generate"
    with client.post(url, json=payload(), stream=True, timeout=60) as response:
        response.raise_for_status()
        for text in response.iter_content(None, decode_unicode=True):
            texts.append(text)
