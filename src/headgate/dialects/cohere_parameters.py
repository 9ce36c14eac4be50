"""Every parameter of a chat request but messages, tools and form of answer, in Cohere's words.

Sources: docs.cohere.com/v2/reference/chat and .../docs/reasoning. Values that ask for what happens anyway (a
penalty of 0) are no loss, and are not reported as one.
"""

from __future__ import annotations

from typing import Any

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.ports import Call
from headgate.dialects.unsupported import Unsupported

SMALLEST_P, LARGEST_P = 0.01, 0.99
"""What `p` may be there; nothing is lost of the rest, for 0.99 all but ends it and 0.01 is one token."""

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 8192}
"""Tokens to think with for `reasoning_effort`, as Google's compatible API has it; above, without bound."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

HINTS = (
    "metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
    "safety_identifier", "user",
)  # fmt: skip
"""What makes an answer cheaper, quicker or easier to find, and no other answer."""

Body = dict[str, Any]


def write_parameters(body: Body, call: Call, request: ChatRequest, unsupported: Unsupported) -> None:
    """Adds them to the body; raises InvalidField for what cannot be said there."""
    limit = request.max_completion_tokens or request.max_tokens
    if limit is not None:
        body["max_tokens"] = limit
    words = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(words):
        body["stop_sequences"] = [word for word in words if word]
    _sampling(body, call, request, unsupported)
    _thinking(body, request)
    if request.logprobs:
        body["logprobs"] = True
        if request.top_logprobs:
            unsupported.parameter("top_logprobs")
    _leave_out(request, unsupported)


def _sampling(body: Body, call: Call, request: ChatRequest, unsupported: Unsupported) -> None:
    if request.temperature is not None:
        body["temperature"] = call.fields["temperature"]
    if request.top_p is not None:
        inside = SMALLEST_P <= request.top_p <= LARGEST_P
        body["p"] = call.fields["top_p"] if inside else min(max(request.top_p, SMALLEST_P), LARGEST_P)
    for name in ("presence_penalty", "frequency_penalty"):
        value = getattr(request, name)
        if not value:
            continue
        if 0 < value <= 1:
            body[name] = call.fields[name]
            continue
        unsupported.parameter(name, f"Invalid '{name}': this model takes values from 0 to 1 only.")
        if value > 1:
            body[name] = 1
    if request.seed is not None:
        if request.seed >= 0:
            body["seed"] = request.seed
        else:
            unsupported.parameter("seed", "Invalid 'seed': this model takes none below 0.")


def _thinking(body: Body, request: ChatRequest) -> None:
    effort = request.reasoning_effort
    if effort is None:
        return
    if effort not in EFFORTS:
        raise violation.wrong_value(
            "reasoning_effort",
            f"Invalid value: '{violation.quote(effort)}'. Supported values are: 'none', 'minimal', 'low', "
            "'medium', 'high', 'xhigh' and 'max'.",
        )
    body["thinking"] = {"type": "disabled" if effort == "none" else "enabled"}
    if effort in BUDGETS:
        body["thinking"]["token_budget"] = BUDGETS[effort]


def _leave_out(request: ChatRequest, unsupported: Unsupported) -> None:
    if request.modalities is not None and set(request.modalities) - {"text"}:
        raise violation.wrong_value(
            "modalities", "Invalid value for 'modalities': this model writes text only."
        )
    for name, nothing in (
        ("logit_bias", ({},)),
        ("service_tier", ("auto", "default")),
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
