"""Whether AWS's own description of Converse has a request or a reply: read by botocore, which ships it."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from typing import Any

from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.parsers import EventStreamJSONParser
from botocore.validate import ParamValidator

Json = dict[str, Any]


@cache
def operation(name: str) -> OperationModel:
    """What the service's description says of an operation."""
    return ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2")).operation_model(name)


def accepted(model: str, body: Json) -> None:
    """Fails when the description does not have this body: its fields, types, ranges and unions."""
    shape = operation("Converse").input_shape
    given = {"modelId": model, **with_bytes(body, shape)}
    assert not (report := ParamValidator().validate(given, shape).generate_report()), report
    assert not (wrong := list(unlike(given, shape, "body"))), wrong


def known_reply(body: Json) -> None:
    """Fails when the description does not have this whole reply."""
    shape = operation("Converse").output_shape
    given = with_bytes(body, shape)
    assert not (report := ParamValidator().validate(given, shape).generate_report()), report
    assert not (wrong := list(unlike(given, shape, "reply"))), wrong


def parsed(stream: bytes) -> list[Json]:
    """A stream's events as botocore tells them to whoever uses it; an event unknown to it is empty."""
    shape = operation("ConverseStream").output_shape.members["stream"]
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    return [EventStreamJSONParser().parse(found.to_response_dict(), shape) for found in buffer]


def with_bytes(value: Any, shape: Shape) -> Any:
    """The same with bytes where the description says blob: on the wire they are base64."""
    if shape.type_name == "blob":
        return b64decode(value, validate=True)
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        return {
            name: with_bytes(item, shape.members[name]) if name in shape.members else item
            for name, item in value.items()
        }
    if shape.type_name == "list":
        return [with_bytes(item, shape.member) for item in value]
    if shape.type_name == "map":
        return {name: with_bytes(item, shape.value) for name, item in value.items()}
    return value


def unlike(value: Any, shape: Shape, at: str) -> Iterator[str]:
    """What botocore's validator lets through: words of no enum, letters of no pattern, more than the most."""
    most = shape.metadata.get("max")
    if most is not None and (value if isinstance(value, int | float) else len(value)) > most:
        yield f"{at}: more than {most}"
    if shape.type_name == "string":
        if shape.enum and value not in shape.enum:
            yield f"{at}: {value!r}"
        pattern = shape.metadata.get("pattern")
        # The pattern of a model's name is looked at by nobody but the service.
        if pattern and not at.endswith(".modelId") and not re.fullmatch(pattern, value):
            yield f"{at}: {value!r}"
        return
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        for name, item in value.items():
            yield from unlike(item, shape.members[name], f"{at}.{name}")
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from unlike(item, shape.member, f"{at}[{index}]")
    elif shape.type_name == "map":
        for name, item in value.items():
            yield from unlike(item, shape.value, f"{at}.{name}")
