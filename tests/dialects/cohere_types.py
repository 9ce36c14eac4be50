"""Whether the official `cohere` SDK has words for a request or a reply: each field, and none besides."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from cohere import EmbedByTypeResponse, V2ChatResponse, V2ChatStreamResponse
from cohere.v2.client import V2Client
from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

Json = dict[str, Any]

_event = TypeAdapter[Any](V2ChatStreamResponse)


@cache
def request_model(method: str) -> type[BaseModel]:
    """The body that a method of the SDK's client sends, by the method's own types."""
    function = getattr(V2Client, method)
    kinds = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in ("self", "request_options"):
            required = parameter.default is inspect.Parameter.empty
            fields[name] = (kinds[name], ... if required else None)
    return create_model(method, __config__=ConfigDict(extra="forbid"), **fields)


def accepted(body: Json) -> None:
    """Fails when the SDK could not say this chat request."""
    known = {name: value for name, value in body.items() if name != "stream"}
    assert isinstance(body["stream"], bool)
    found = request_model("chat_stream" if body["stream"] else "chat").model_validate_json(json.dumps(known))
    assert not (extra := list(unknown(found, "body"))), extra


def accepted_embed(body: Json) -> None:
    """The same for an embed request."""
    found = request_model("embed").model_validate_json(json.dumps(body))
    assert not (extra := list(unknown(found, "body"))), extra


def known_reply(body: bytes) -> None:
    """Fails when the SDK does not know this whole reply."""
    found = V2ChatResponse.model_validate_json(body)
    assert not (extra := list(unknown(found, "reply"))), extra


def known_vectors(body: bytes) -> None:
    """The same for an embed reply."""
    EmbedByTypeResponse.model_validate_json(body)


def known_event(data: bytes) -> None:
    """The same for an event of a stream."""
    found = _event.validate_json(data)
    assert found.type == json.loads(data)["type"]
    assert not (extra := list(unknown(found, "event"))), extra


def unknown(value: Any, at: str) -> Iterator[str]:
    """Fields that the SDK would keep though it does not know them."""
    if isinstance(value, BaseModel):
        for name in value.model_extra or ():
            yield f"{at}.{name}"
        for name in type(value).model_fields:
            yield from unknown(getattr(value, name), f"{at}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown(item, f"{at}[{index}]")
