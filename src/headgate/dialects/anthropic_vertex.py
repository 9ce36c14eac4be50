"""Anthropic's dialect on Vertex: the same bodies but for the model's name and the version, at other paths.

Source: platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai, and the version that Anthropic's
own SDK sends there, which is newer than the page's.
"""

from __future__ import annotations

from typing import Any

from headgate.core.errors import ApiError
from headgate.core.ports import Call, Headers
from headgate.dialects.anthropic import VERSION, VERSION_HEADER, Anthropic
from headgate.dialects.refusal import read
from headgate.dialects.vertex import vertex_error, vertex_path

VERSION_WITH_SAMPLING = "vertex-2023-10-16"
"""The version before, as it is called there. An operator who configures it as a header gets `temperature` and
`top_p` passed on, as with Anthropic's own API."""


class AnthropicOnVertex(Anthropic):
    """The dialect of Anthropic's models at Google."""

    def __init__(self, *, drop_unsupported: bool = False, headers: Headers = ()) -> None:
        """`headers` are the operator's own for this upstream; a version among them is obeyed."""
        super().__init__(drop_unsupported=drop_unsupported, headers=headers)
        self._version = dict(headers).get(VERSION_HEADER, VERSION).decode()
        self._sampling = self._version == VERSION_WITH_SAMPLING

    def place(self, body: dict[str, Any], call: Call) -> tuple[str, Headers]:
        """The path, which names the model; the body tells the version."""
        del body["model"]
        body["anthropic_version"] = self._version
        verb = "streamRawPredict" if call.stream else "rawPredict"
        return vertex_path("anthropic", call.upstream_model, verb), ()

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error of Anthropic's, or of Google's before it was asked."""
        if read(body).type is None:
            return vertex_error(status, headers, body)
        return super().error(status, headers, body)
