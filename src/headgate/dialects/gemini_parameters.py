"""Every parameter of a chat request but messages, tools and form of answer, in Gemini's words.

Source: ai.google.dev/api/generate-content (GenerationConfig) and .../gemini-api/docs/thinking. Values that
ask for what happens anyway (a penalty of 0) are no loss, and are not reported as one.
"""

from __future__ import annotations

from typing import Any

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.ports import Call
from headgate.dialects.unsupported import Unsupported

LARGEST_COUNT = 2**31 - 1
"""Counts and seeds are numbers of 32 bits there."""

MOST_CHOICES = 8
"""What the document says of `candidateCount`."""

LEVELS = {
    # These models cannot be kept from thinking: as little as there is comes closest.
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
"""`reasoning_effort` as Gemini 3 knows it."""

BUDGETS = {
    "none": 0,
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
"""The same before Gemini 3, in tokens: what Google's own compatible API makes of the words."""

TIERS = {"default": "standard", "flex": "flex", "priority": "priority"}

HINTS = (
    "metadata", "prediction", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
    "safety_identifier", "user",
)  # fmt: skip
"""What makes an answer cheaper, quicker or easier to find, and no other answer."""

Body = dict[str, Any]


def write_parameters(
    body: Body, config: Body, call: Call, request: ChatRequest, unsupported: Unsupported, *, before_3: bool
) -> None:
    """Adds them to the body and to `generationConfig`; `before_3` tells that the model thinks by budget."""
    _length(config, request)
    _choices(config, request)
    _sampling(config, call, request, unsupported)
    _thinking(config, request, before_3=before_3)
    _modalities(config, request)
    if request.service_tier in TIERS:
        body["serviceTier"] = TIERS[request.service_tier]
    elif request.service_tier not in (None, "auto"):
        unsupported.parameter("service_tier")
    if request.store is not None:
        body["store"] = request.store
    _leave_out(request, unsupported)


def _length(config: Body, request: ChatRequest) -> None:
    limit = request.max_completion_tokens or request.max_tokens
    if limit is not None:
        config["maxOutputTokens"] = min(limit, LARGEST_COUNT)
    words = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(words):
        config["stopSequences"] = [word for word in words if word]


def _sampling(config: Body, call: Call, request: ChatRequest, unsupported: Unsupported) -> None:
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        if getattr(request, name) is not None:
            config[theirs] = call.fields[name]
    for name, theirs in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
        if getattr(request, name):
            config[theirs] = call.fields[name]
    if request.seed is not None:
        if -LARGEST_COUNT <= request.seed <= LARGEST_COUNT:
            config["seed"] = request.seed
        else:
            unsupported.parameter("seed", "Invalid 'seed': this model takes seeds of 32 bits only.")
    if request.logprobs:
        config["responseLogprobs"] = True
        if request.top_logprobs:
            config["logprobs"] = request.top_logprobs


def _choices(config: Body, request: ChatRequest) -> None:
    if request.n is None or request.n == 1:
        return
    if request.n > MOST_CHOICES:
        raise violation.above_maximum("n", "integer", MOST_CHOICES, str(request.n))
    config["candidateCount"] = request.n


def _thinking(config: Body, request: ChatRequest, *, before_3: bool) -> None:
    effort = request.reasoning_effort
    if effort is None:
        return
    if effort not in LEVELS:
        raise violation.wrong_value(
            "reasoning_effort",
            f"Invalid value: '{violation.quote(effort)}'. Supported values are: 'none', 'minimal', 'low', "
            "'medium', 'high', 'xhigh' and 'max'.",
        )
    written: Body = {"thinkingBudget": BUDGETS[effort]} if before_3 else {"thinkingLevel": LEVELS[effort]}
    if effort != "none":
        written["includeThoughts"] = True
    # A client that knows Gemini's own words for it means those.
    config.setdefault("thinkingConfig", written)


def _modalities(config: Body, request: ChatRequest) -> None:
    wanted = request.modalities or []
    if not set(wanted) <= {"text", "image"}:
        raise violation.wrong_value(
            "modalities", "Invalid value for 'modalities': supported are 'text' and 'image' here."
        )
    if "image" in wanted:
        config["responseModalities"] = [one.upper() for one in dict.fromkeys(wanted)]


def _leave_out(request: ChatRequest, unsupported: Unsupported) -> None:
    for name, nothing in (
        ("logit_bias", ({},)),
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
