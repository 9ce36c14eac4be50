"""What went wrong at an upstream, in words that an operator can act on. Pure: what was met in, words out.

Knows how upstreams fail; must not know how they are asked. Secrets and places are taken out of what they say.
"""

from __future__ import annotations

import difflib
import re
import ssl
from collections.abc import Sequence

import msgspec

from headgate.core.address import Address
from headgate.core.errors import ConnectionLost, UpstreamError, UpstreamGarbage, UpstreamTimeout
from headgate.dialects.refusal import USED_UP, read

EXCERPT_CHARACTERS = 300
"""Of what an upstream says: enough for a sentence or two."""

# OpenSSL's numbers for what a certificate was refused for (X509_V_ERR_*).
_EXPIRED, _NOT_YET_VALID = 10, 9
_NAME_MISMATCH, _ADDRESS_MISMATCH = 62, 64
_UNTRUSTED = frozenset((2, 18, 19, 20, 21, 27))

_PLAIN_TO_TLS = re.compile(
    rb"plain HTTP request was sent to HTTPS|client sent an HTTP request to an HTTPS", re.IGNORECASE
)
_TOO_FEW_FIELDS = re.compile(r"max_completion_tokens", re.IGNORECASE)
_MODEL = re.compile(r"\bmodel\b", re.IGNORECASE)
_HTML = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)


class Finding(msgspec.Struct, frozen=True):
    """What one step of a trial has shown."""

    step: str
    """`connect`, `whole`, `stream` or `usage`."""
    ok: bool
    detail: str
    """What was found."""
    advice: str = ""
    """What to do about it; empty when all is well."""


def connection(error: UpstreamError, address: Address, limit_ms: int) -> Finding:
    """What an error of the pool means."""
    cause = error.__cause__
    where = address.socket_path or address.host_and_port
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _certificate(cause, address)
    if isinstance(cause, ssl.SSLError):
        if cause.reason in (
            "WRONG_VERSION_NUMBER",
            "HTTP_REQUEST",
            "PACKET_LENGTH_TOO_LONG",
            "RECORD_LAYER_FAILURE",
        ):
            return _bad(
                "connect",
                f"{where} does not speak TLS",
                "if it speaks plain HTTP, base_url begins with http://",
            )
        return _bad(
            "connect", f"TLS with {where} failed: {cause.reason or cause}", "look at what the server allows"
        )
    if isinstance(error, UpstreamTimeout):
        return _late(error, address, where, limit_ms)
    if isinstance(error, ConnectionLost):
        answered = "broke off in the middle of its answer" if error.answered else "closed without an answer"
        return _bad(
            "connect", f"{where} {answered}", "look into the upstream's own log" + _maybe_tls(address)
        )
    if isinstance(error, UpstreamGarbage):
        advice = "is that an HTTP server?" + _maybe_tls(address)
        return _bad("connect", f"what {where} says is not HTTP", advice)
    return _unreachable(str(error).removeprefix("connect: "), address, where)


def _unreachable(reason: str, address: Address, where: str) -> Finding:
    if reason.startswith("name not found"):
        return _bad(
            "connect",
            f"the name {address.host} is not known",
            "is base_url spelled right, and does DNS work here?",
        )
    if address.socket_path:
        return _bad(
            "connect", f"{where}: {reason}", "is the server running, and may this user reach its socket?"
        )
    if "refused" in reason.lower():
        return _bad("connect", f"nobody listens at {where}", "is the server running, and is the port right?")
    return _bad("connect", f"{where} cannot be reached: {reason}", "look at address, network and firewall")


def _late(error: UpstreamTimeout, address: Address, where: str, limit_ms: int) -> Finding:
    seconds = f"{limit_ms / 1000:g} s"
    if error.phase == "connect":
        advice = "a firewall, a wrong address, or a name server that is silent; else raise connect_timeout_ms"
        if address.tls:
            advice += "; if it speaks plain HTTP, base_url begins with http://"
        return _bad("connect", f"no connection to {where} in time", advice)
    detail = f"connected to {where}, but no answer within {seconds}"
    return _bad("connect", detail, "is the model still loading, or the server overloaded?")


def _certificate(error: ssl.SSLCertVerificationError, address: Address) -> Finding:
    code, host = error.verify_code, address.host
    if code == _EXPIRED:
        return _bad("connect", f"the certificate of {host} has expired", "it must be renewed there")
    if code == _NOT_YET_VALID:
        return _bad(
            "connect", f"the certificate of {host} is not valid yet", "is this machine's clock right?"
        )
    if code in (_NAME_MISMATCH, _ADDRESS_MISMATCH):
        advice = "base_url needs a name that is on the certificate"
        return _bad("connect", f"the certificate shown there is not for {host}", advice)
    if code in _UNTRUSTED:
        advice = "if the authority is one of your own, name its PEM file in ca_file"
        return _bad("connect", f"the certificate of {host} is signed by nobody we trust", advice)
    return _bad(
        "connect", f"the certificate of {host} was refused: {error.verify_message}", "look at it with openssl"
    )


def _maybe_tls(address: Address) -> str:
    return "" if address.tls or address.socket_path else "; if it speaks TLS, base_url begins with https://"


def status(step: str, code: int, location: bytes, body: bytes, *, model: str, key: str) -> Finding:
    """What an error status means; `key` says where the key is from, empty when none is sent."""
    told = read(body)
    says = f": {told.message[:EXCERPT_CHARACTERS]}" if told.message else ""
    if _PLAIN_TO_TLS.search(body):
        return _bad(step, "the server there speaks TLS", "base_url begins with https://")
    if 300 <= code < 400:
        target = location.decode("latin-1")[:EXCERPT_CHARACTERS]
        return _bad(
            step, f"answers with a redirect ({code}) to {target}", "is that where base_url should lead?"
        )
    if code == 401:
        return _no_key(step, key)
    if code == 403:
        return _bad(
            step,
            f"the key may not do that (403){says}",
            "look at its permissions, and at the account's regions",
        )
    if code == 402 or (code == 429 and (told.code in USED_UP or told.type in USED_UP)):
        return _bad(step, f"the account there is used up ({code}){says}", "look at its plan and payment")
    if code == 404:
        return _not_found(step, body, model)
    if code == 429:
        return _bad(
            step, f"the rate limit there is reached (429){says}", "try again later, or ask for a higher limit"
        )
    if code >= 500:
        return _bad(
            step, f"fails there ({code}){says}", "look into the upstream's own log, or at its status page"
        )
    if _MODEL.search(told.message):
        return _bad(step, f"refuses the request ({code}){says}", f'is the model called "{model}" there?')
    return _bad(step, f"refuses the request ({code}){says}", "look at dialect and quirks")


def wants_other_limit(body: bytes) -> bool:
    """Whether a 400 says that the answer's length is to be bounded by `max_completion_tokens`."""
    return bool(_TOO_FEW_FIELDS.search(read(body).message))


def _no_key(step: str, key: str) -> Finding:
    if not key:
        return _bad(
            step, "wants a key (401), and none is sent", 'say where it is: api_key = { env = "NAME" }'
        )
    return _bad(step, f"refuses the key (401), which is from {key}", "is it complete, and still valid there?")


def is_unknown_model(code: int, body: bytes) -> bool:
    """Whether a refusal is about the model's name, not about the path."""
    told = read(body)
    return code == 404 and (told.code == "model_not_found" or bool(_MODEL.search(told.message)))


def _not_found(step: str, body: bytes, model: str) -> Finding:
    if is_unknown_model(404, body):
        return unknown_model(step, model, ())
    return _bad(
        step, "knows no such path (404)", "is the path of base_url right? Most servers want /v1 at its end"
    )


def lacks_version(step: str) -> Finding:
    """The same request went well below `/v1`."""
    return _bad(step, "knows no such path (404), but does below /v1", "base_url lacks /v1 at its end: add it")


def unknown_model(step: str, model: str, known: Sequence[str]) -> Finding:
    """The upstream has no such model; `known` is what it says it has."""
    near = difflib.get_close_matches(model, known, n=3, cutoff=0.4) or list(known[:3])
    more = " ..." if len(known) > len(near) else ""
    has = f"it has {', '.join(near)}{more}" if known else "look at what it is called there"
    return _bad(step, f'has no model "{model}"', f"{has}: set upstream_name")


def not_json(step: str, kind: bytes, body: bytes) -> Finding:
    """A reply of status 200 that is no chat completion."""
    if _HTML.match(body):
        return _bad(step, "answers with a web page", "base_url leads to a site, or to somebody's login page")
    shown = kind.decode("latin-1")[:60] or "no content type"
    said = body[:60].decode("utf-8", "replace")
    return _bad(step, f"answers with what is no JSON object ({shown}): {said!r}", "is that a model server?")


def not_completion(step: str, body: bytes) -> Finding:
    """JSON, but without choices, or without vectors."""
    told = read(body)
    if told.message:
        detail = f"answers 200 with an error inside: {told.message[:EXCERPT_CHARACTERS]}"
        return _bad(step, detail, "look into the upstream's own log")
    return _bad(step, "answers with JSON that is not what was asked for", "is dialect the right one?")


def no_stream(kind: bytes) -> Finding:
    """A stream was asked for, and something else came."""
    shown = kind.decode("latin-1")[:60] or "no content type"
    return _bad("stream", f"does not stream ({shown})", "does the server there support stream: true?")


def packed(step: str) -> Finding:
    """Compressed, though nobody asked."""
    return _bad(
        step, "compresses its replies though asked not to", "a proxy in front of it must be told not to"
    )


def no_usage(step: str) -> Finding:
    """Nobody says how many tokens it were: no failure, but worth to know."""
    where = "streams" if step == "stream" else "replies"
    return Finding("usage", True, f"{where} report no usage", "its tokens are estimated")


def good(step: str, detail: str) -> Finding:
    """All is well."""
    return Finding(step, True, detail)


def _bad(step: str, detail: str, advice: str) -> Finding:
    return Finding(step, False, detail, advice)
