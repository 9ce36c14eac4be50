"""What our dialects send for the same requests, through the door's own checks."""

from __future__ import annotations

import json
from typing import Any

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest
from headgate.core.errors import ApiError
from headgate.core.ports import Call, Dialect
from headgate.dialects.anthropic import Anthropic
from headgate.dialects.gemini import Gemini
from headgate.endpoints import CHAT_COMPLETIONS

Json = dict[str, Any]

OLD_VERSION = ((b"anthropic-version", b"2023-06-01"),)
"""LiteLLM sends the version before ours, in which sampling exists: so do we here."""


def sent(requests: list[Json], models: dict[str, str]) -> dict[str, list[Json]]:
    """Bodies, or the error that a client would be told."""
    dialects: dict[str, Dialect] = {"anthropic": Anthropic(headers=OLD_VERSION), "gemini": Gemini()}
    return {name: [_sent(dialects[name], one, model) for one in requests] for name, model in models.items()}


def _sent(dialect: Dialect, request: Json, model: str) -> Json:
    typed, fields = open_body(json.dumps(request).encode(), ChatRequest)
    call = Call(CHAT_COMPLETIONS, typed, fields, request.get("stream") is True, False, model)
    try:
        return {"body": json.loads(dialect.request(call).body)}
    except ApiError as error:
        return {"error": error.message}
