"""Azure's dialect: OpenAI's wire format below paths, a key's header and an error envelope of its own.

Source: learn.microsoft.com/azure/foundry/openai, in November 2026. Must not look into messages.
"""

from __future__ import annotations

import re

from headgate.core.errors import ApiError
from headgate.core.passing import PASSING
from headgate.core.ports import Call, Headers, Outgoing
from headgate.core.quirks import PLAIN, Quirks
from headgate.dialects.azure_error import upstream_error
from headgate.dialects.azure_stream import AnnotatedStream
from headgate.dialects.embedded import wrong_endpoint
from headgate.dialects.openai import OpenAI
from headgate.dialects.quirks import DepartingOpenAI

_RESERVED = re.compile(rb"[^A-Za-z0-9._~-]")


class Azure:
    """The dialect of Azure's OpenAI resources; a model's upstream name is the name of its deployment."""

    def __init__(self, *, api_version: str | None = None, quirks: Quirks = PLAIN) -> None:
        """With a dated `api_version`, the paths of the deployments; without one, the v1 API."""
        self._openai = OpenAI() if quirks == PLAIN else DepartingOpenAI(quirks)
        self._api_version = api_version

    def request(self, call: Call) -> Outgoing:
        """The client's body, to the path where the deployment answers."""
        outgoing = self._openai.request(call)
        if isinstance(call.request, PASSING) and self._api_version is not None:
            raise wrong_endpoint(call)  # dated versions have no such paths
        if self._api_version is None:
            outgoing.path = f"/openai{call.endpoint.path}"
        else:
            deployment = _RESERVED.sub(_percent, call.upstream_model.encode()).decode()
            path = call.endpoint.path.removeprefix("/v1")
            outgoing.path = f"/openai/deployments/{deployment}{path}?api-version={self._api_version}"
        if call.stream and not call.endpoint.typed_events:
            outgoing.translator = AnnotatedStream()
        return outgoing

    def credentials(self, key: str) -> Headers:
        """The header that carries the key; a token of Entra's is a bearer's instead (`bearer = true`)."""
        return ((b"api-key", key.encode()),)

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of Azure's; see `azure_error`."""
        return upstream_error(status, headers, body)


def _percent(found: re.Match[bytes]) -> bytes:
    return b"%%%02X" % found[0][0]
