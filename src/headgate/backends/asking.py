"""One small request to whoever gives tokens: blocking, for a thread. None of the gate's own pools is used."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from headgate.core.errors import ConnectFailed

TIMEOUT_S = 20.0
"""Between two bytes: such answers take a tenth of a second."""

ANSWER_BYTES = 1_048_576
"""A token is a few kilobytes; nothing longer is read."""


class Answer:
    """What came back, whatever its status. google-auth reads it by these names."""

    __slots__ = ("data", "headers", "status")

    def __init__(self, status: int, headers: Message, data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data


class _Stay(HTTPRedirectHandler):
    """A redirect is an answer: what proves an identity is not sent anywhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener = build_opener(_Stay)


def ask(
    url: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **_: object,
) -> Answer:
    """Sends it, through the environment's proxy where there is one; raises ConnectFailed.

    Its parameters are those that google-auth calls it with.
    """
    if not url.startswith(("https://", "http://")):
        raise ConnectFailed("not an address of the web")
    request = Request(url, data=body, headers=dict(headers or {}), method=method)
    try:
        with _opener.open(request, timeout=timeout or TIMEOUT_S) as reply:
            return Answer(reply.status, reply.headers, reply.read(ANSWER_BYTES))
    except HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read(ANSWER_BYTES))
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectFailed(f"cannot be reached ({type(reason).__name__})") from None
