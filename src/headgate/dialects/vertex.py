"""What Vertex, Google's cloud, does differently with any maker's models: paths, errors that name projects.

Source: docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference. The formats are the makers' own.
"""

from __future__ import annotations

import re

from headgate.core import violation
from headgate.core.errors import ApiError, UpstreamRefused
from headgate.core.ports import Headers
from headgate.dialects.gemini_error import upstream_error
from headgate.dialects.refusal import INVALID_REQUEST

_NOT_IN_A_PATH = re.compile(r"[^A-Za-z0-9._~/@-]+")
_PROJECT = re.compile(r"\bprojects?[/ ][\w:.-]+", re.IGNORECASE)


def vertex_path(publisher: str, model: str, verb: str) -> str:
    """The path below a location; a name with a slash is a resource of its own, such as `endpoints/17`."""
    resource = model if "/" in model else f"publishers/{publisher}/models/{model}"
    if any(step in ("", ".", "..") for step in resource.split("/")):
        raise violation.wrong_value("model")
    return f"/{_NOT_IN_A_PATH.sub(_escape, resource)}:{verb}"


def vertex_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """An error in Google's form, without the operator's project."""
    error = upstream_error(status, headers, body)
    if error.status == 404:
        return UpstreamRefused(
            "The upstream does not know this model.",
            status=404,
            error_type=INVALID_REQUEST,
            code="model_not_found",
        )
    error.message = _PROJECT.sub("[project]", error.message)
    return error


def _escape(found: re.Match[str]) -> str:
    return "".join([f"%{byte:02X}" for byte in found[0].encode()])
