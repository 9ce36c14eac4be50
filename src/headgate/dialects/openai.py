"""OpenAI's own wire format: bytes pass, but for the model's name and the usage that is asked for.

Must not look into messages: enums, part types and unknown fields belong to the upstream.
"""

from __future__ import annotations

from headgate.core.body import splice, usage_options
from headgate.core.errors import ApiError
from headgate.core.ports import Call, Headers, Outgoing
from headgate.dialects.refusal import refusal


def bearer(key: str) -> Headers:
    """The header that carries a key here, and at most others (RFC 6750)."""
    return ((b"authorization", b"Bearer " + key.encode()),)


class OpenAI:
    """The dialect of OpenAI and of everything that is compatible with it."""

    def request(self, call: Call) -> Outgoing:
        """The client's body with the upstream's name of the model; a stream is asked to report its usage."""
        if call.stream and not call.wants_usage and not call.endpoint.typed_events:
            body = splice(call.fields, model=call.upstream_model, stream_options=usage_options(call.fields))
        else:
            body = splice(call.fields, model=call.upstream_model)
        # A base URL ends in the upstream's own `/v1`.
        return Outgoing(call.endpoint.path.removeprefix("/v1"), body)

    def credentials(self, key: str) -> Headers:
        """The header that carries the key."""
        return bearer(key)

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of the upstream's; see `dialects.refusal`."""
        return refusal(status, headers, body)
