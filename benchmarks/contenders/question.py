"""The question that every contender asks, and its request in this protocol, as those write it who write it by hand."""

from __future__ import annotations

import hashlib
import time
from typing import Any

PROMPT = "Tell me a story."
MESSAGES = [{"role": "user", "content": PROMPT}]


def payload() -> dict[str, Any]:
    """Return the JSON of a signed request."""
    now = int(time.time() * 1000)
    sign = hashlib.sha256(f"{now}:{PROMPT}:".encode()).hexdigest()
    return {"messages": [{"role": "user", "parts": [{"text": PROMPT}]}], "time": now, "pass": None, "sign": sign}
