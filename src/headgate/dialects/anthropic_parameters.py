"""Every parameter of a chat request but messages, tools and form of answer, in Anthropic's words.

Source: platform.claude.com/docs/en/api/messages/create and .../build-with-claude/effort. Values that ask for
what happens anyway (a penalty of 0) are no loss, and are not reported as one.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.ports import Call
from headgate.dialects.unsupported import Unsupported

DEFAULT_MAX_TOKENS = 32_000
"""Sent where the client sets no limit, since one is required: the smallest maximum of all models since
Claude 4, and far above most answers."""

LARGEST_COUNT = 2**31 - 1
"""More than any model's output; some servers overflow above."""

EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
"""OpenAI's words for `reasoning_effort` and Anthropic's for `effort`, which have no `minimal`."""

HINTS = (
    "metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
)  # fmt: skip
"""What makes an answer cheaper, quicker or easier to find, and no other answer."""

Body = dict[str, Any]


class _Thinking(msgspec.Struct):
    type: str = ""


def asks_to_think(call: Call, request: ChatRequest) -> bool:
    """Whether the client wants the model to think: by OpenAI's field, or by Anthropic's own."""
    given = call.fields.get("thinking")
    if given is not None and bytes(given) != b"null":
        try:
            return msgspec.json.decode(given, type=_Thinking).type != "disabled"
        except msgspec.ValidationError:
            raise violation.wrong_value("thinking") from None
    return request.reasoning_effort not in (None, "none")


def write_parameters(
    body: Body, call: Call, request: ChatRequest, unsupported: Unsupported, *, sampling: bool
) -> None:
    """Adds them to the body; `sampling` tells that `temperature` and `top_p` exist there."""
    limit = request.max_completion_tokens or request.max_tokens or DEFAULT_MAX_TOKENS
    body["max_tokens"] = min(limit, LARGEST_COUNT)
    _stop(body, request, unsupported)
    _sampling(body, call, request, unsupported, sampling=sampling)
    _thinking(body, call, request)
    user = request.user or request.safety_identifier
    if user:
        body["metadata"] = {"user_id": user}
    if request.user and request.safety_identifier:
        unsupported.hint("safety_identifier")
    if request.service_tier == "default":
        body["service_tier"] = "standard_only"
    elif request.service_tier not in (None, "auto"):
        unsupported.parameter("service_tier")
    _leave_out(request, unsupported)


def _stop(body: Body, request: ChatRequest, unsupported: Unsupported) -> None:
    words = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(word and not word.strip() for word in words):
        unsupported.parameter(
            "stop", "Invalid 'stop': this model takes no stop sequence of white space only."
        )
    words = [word for word in words if word.strip()]
    if words:
        body["stop_sequences"] = words


def _sampling(
    body: Body, call: Call, request: ChatRequest, unsupported: Unsupported, *, sampling: bool
) -> None:
    for name in ("temperature", "top_p"):
        value = getattr(request, name)
        if value is None:
            continue
        if sampling and value <= 1:
            body[name] = call.fields[name]
        elif sampling:
            unsupported.parameter(name, f"Invalid '{name}': this model takes values from 0 to 1 only.")
            body[name] = 1
        elif value != 1:
            unsupported.parameter(
                name, f"Unsupported value: '{name}' does not support {value:g} here. Only the default (1) is."
            )


def _thinking(body: Body, call: Call, request: ChatRequest) -> None:
    given = call.fields.get("output_config")
    if given is not None and bytes(given) != b"null":
        try:
            body["output_config"] = msgspec.json.decode(given, type=dict[str, msgspec.Raw])
        except msgspec.ValidationError:
            raise violation.wrong_value("output_config") from None
    if "thinking" in call.fields and bytes(call.fields["thinking"]) != b"null":
        body["thinking"] = call.fields["thinking"]
    effort = request.reasoning_effort
    if effort is None:
        return
    if effort == "none":
        body.setdefault("thinking", {"type": "disabled"})
        return
    if effort not in EFFORTS:
        raise violation.wrong_value(
            "reasoning_effort",
            f"Invalid value: '{violation.quote(effort)}'. Supported values are: 'none', 'minimal', 'low', "
            "'medium', 'high', 'xhigh' and 'max'.",
        )
    # Newer models keep their thoughts to themselves unless they are asked for.
    body.setdefault("thinking", {"type": "adaptive", "display": "summarized"})
    body["output_config"] = {**body.get("output_config", {}), "effort": EFFORTS[effort]}


def _leave_out(request: ChatRequest, unsupported: Unsupported) -> None:
    if request.modalities is not None and set(request.modalities) - {"text"}:
        raise violation.wrong_value(
            "modalities", "Invalid value for 'modalities': this model writes text only."
        )
    for name, nothing in (
        ("seed", ()),
        ("presence_penalty", (0,)),
        ("frequency_penalty", (0,)),
        ("logit_bias", ({},)),
        ("logprobs", (False,)),
        ("top_logprobs", (0,)),
        ("store", (False,)),
        ("verbosity", ("medium",)),
        ("audio", ()),
        ("web_search_options", ()),
        ("moderation", ()),
    ):
        value = getattr(request, name)
        if value is not None and value not in nothing:
            unsupported.parameter(name)
    for name in HINTS:
        if getattr(request, name):
            unsupported.hint(name)
