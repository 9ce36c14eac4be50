"""OpenAI's wire format with departures that are told as data (`core.quirks`).

Must not look into messages further than their role, nor know whose departures they are.
"""

from __future__ import annotations

import msgspec

from headgate.core.body import Fields, splice, usage_options
from headgate.core.passing import PASSING
from headgate.core.ports import Call, Outgoing
from headgate.core.quirks import Quirks
from headgate.dialects.openai import OpenAI

_LIMITS = ("max_tokens", "max_completion_tokens")
_DEVELOPER = b'"developer"'
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_encode = msgspec.json.Encoder().encode


class DepartingOpenAI(OpenAI):
    """OpenAI's dialect as one of its imitators speaks it; a server without departures gets the plain one."""

    def __init__(self, quirks: Quirks) -> None:
        self._quirks = quirks

    def request(self, call: Call) -> Outgoing:
        """The client's body, said as that server wants it."""
        if isinstance(call.request, PASSING):
            return super().request(call)  # other formats, of which nothing is known to depart
        quirks, fields = self._quirks, call.fields
        changes: dict[str, object] = {"model": call.upstream_model}
        if quirks.no_stream_options:
            changes["stream_options"] = None
        elif call.stream and not call.wants_usage:
            changes["stream_options"] = usage_options(fields)
        if quirks.max_tokens_field is not None:
            for name in _LIMITS:
                _rename(fields, changes, name, quirks.max_tokens_field)
        if quirks.seed_field is not None:
            _rename(fields, changes, "seed", quirks.seed_field)
        if quirks.developer_role is not None and _DEVELOPER in bytes(fields.get("messages", b"")):
            changes["messages"] = _with_role(fields["messages"], _encode(quirks.developer_role))
        return Outgoing(call.endpoint.path.removeprefix("/v1"), splice(fields, **changes))


def _rename(fields: Fields, changes: dict[str, object], name: str, true_name: str) -> None:
    """Moves a value to the name that is known there, unless one stands there already."""
    if name == true_name or name not in fields:
        return
    changes[name] = None
    if bytes(fields.get(true_name, b"null")) == b"null":
        changes[true_name] = fields[name]


def _with_role(messages: msgspec.Raw, role: bytes) -> msgspec.Raw:
    """The messages with another role for `developer`; everything else byte for byte."""
    told = _messages.decode(messages)
    for message in told:
        if bytes(message.get("role", b"")) == _DEVELOPER:
            message["role"] = msgspec.Raw(role)
    return msgspec.Raw(_encode(told))
