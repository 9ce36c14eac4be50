"""A JSON request body: peeked at with types, kept as the bytes that came, and spliced.

The body is never re-encoded from what was decoded, which would drop every field that we do not know:
top-level values are replaced, and the others leave byte for byte as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TypeVar

import msgspec

from headgate.core import violation
from headgate.core.errors import ApiError
from headgate.core.explain import explain

Request = TypeVar("Request", bound=msgspec.Struct)
Fields = dict[str, msgspec.Raw]
"""Top-level fields as they came. They point into the body: do not keep them past the request."""

# A value takes up to 300 bytes once it is decoded, however short it was written: without a bound, the largest
# body would unfold to gigabytes. A million leaves room for a prompt of four million characters, all of it a
# table with a comma after every third.
VALUES_LIMIT = 1_000_000
_WINDOW_BYTES = 65_536

_fields = msgspec.json.Decoder(Fields)
_any = msgspec.json.Decoder(msgspec.Raw)
_encode = msgspec.json.Encoder().encode
_NULL = b"null"
_ASK_FOR_USAGE = msgspec.Raw(b'{"include_usage":true}')


@cache
def _reader(request_type: type[Request]) -> tuple[Callable[[bytes], Request], Sequence[tuple[str, str]]]:
    """What decodes a request type, and its aliases."""
    aliases: Mapping[str, str] = getattr(request_type, "aliases", {})
    return msgspec.json.Decoder(request_type).decode, tuple(aliases.items())


def open_body(body: bytes, request_type: type[Request]) -> tuple[Request, Fields]:
    """The typed fields and all top-level fields of a body; raises BadRequest or TooLarge in OpenAI's words.

    A name that is given twice counts once, with its last value, in both. What was given under an alias of the
    request type stands under the true name in both, unless that was given too.
    """
    if len(body) > VALUES_LIMIT and _has_too_many_values(body):
        raise violation.too_many_values(VALUES_LIMIT)
    decode, aliases = _reader(request_type)
    try:
        request = decode(body)
        fields = _fields.decode(body)
        if not body.isascii():
            # The decoder skips what it does not know without a look at the encoding.
            body.decode()
    except ApiError as error:
        raise _json_first(body, error) from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise explain(body, request_type, error) from None
    for alias, name in aliases:
        if alias in fields:
            _resolve(request, fields, alias, name)
    return request, fields


def _has_too_many_values(body: bytes) -> bool:
    """Whether there are more commas than values allowed: all but the first value of anything follows one.

    Commas inside strings count as well. The search for one is ten times as fast as the count, and most of a
    large body is base64, which has none.
    """
    commas = 0
    for start in range(0, len(body), _WINDOW_BYTES):
        if body.find(b",", start, start + _WINDOW_BYTES) >= 0:
            commas += body.count(b",", start, start + _WINDOW_BYTES)
    return commas > VALUES_LIMIT


def _json_first(body: bytes, error: ApiError) -> ApiError:
    """A request's own rules speak before the decoder saw the last byte, but not being JSON goes first."""
    try:
        body.decode()
        _any.decode(body)
    except RecursionError:
        return violation.too_deep()
    except (msgspec.MsgspecError, UnicodeError):
        return violation.not_json()
    return error


def _resolve(request: msgspec.Struct, fields: Fields, alias: str, name: str) -> None:
    value = fields.pop(alias)
    if getattr(request, name) is None and getattr(request, alias) is not None:
        fields[name] = value
        setattr(request, name, getattr(request, alias))


def splice(fields: Fields, **changes: object) -> bytes:
    """The body with some top-level fields replaced or added, or taken out where the new value is None.

    A change may be anything that can be encoded, Raw included. Every other value is copied byte for byte.
    """
    merged: dict[str, object] = {**fields, **changes}
    if None in changes.values():
        merged = {name: value for name, value in merged.items() if value is not None}
    return _encode(merged)


def usage_options(fields: Fields) -> object:
    """The client's `stream_options`, with usage asked for; its other members as they came. For `splice`."""
    options = fields.get("stream_options")
    if options is None or bytes(options) == _NULL:
        return _ASK_FOR_USAGE
    return {**_fields.decode(options), "include_usage": True}
