"""Every parameter of a chat request but messages, tools and form of answer, in Converse's words.

Sources: docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and the pages of each maker
on reasoning. Values that ask for what happens anyway (a penalty of 0) are no loss, and are not reported.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.ports import Call
from headgate.dialects.unsupported import Unsupported

LARGEST_COUNT = 2**31 - 1
"""Counts are numbers of 32 bits there."""

EFFORTS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
"""`reasoning_effort` as Converse's `effort`."""

THREE_EFFORTS = EFFORTS | {"xhigh": "high", "max": "high"}
"""The same for models that know no more than `high`."""

TIERS = frozenset(("default", "flex", "priority"))

METADATA_CHARACTERS = 256
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,\-.]*")

MERGED = ("additionalModelRequestFields", "inferenceConfig", "outputConfig")
"""Objects of Converse's own that a client may send along: ours are laid over them, member by member."""

OWN = frozenset(
    ("additionalModelResponseFieldPaths", "guardrailConfig", "performanceConfig", "promptVariables",
     "requestMetadata")
)  # fmt: skip
"""Fields of Converse's own, beside those."""

HINTS = (
    "prediction", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier",
    "user",
)  # fmt: skip
"""What makes an answer cheaper, quicker or easier to find, and no other answer."""

# How a model is told to think is its maker's own: `us.anthropic.claude-...`, `openai.gpt-oss-...`.
_CLAUDE = re.compile(r"anthropic|claude")
_NOVA = re.compile(r"nova")
_GPT = re.compile(r"gpt-oss")

_KNOWN = frozenset(field.encode_name for field in msgspec.structs.fields(ChatRequest))

Body = dict[str, Any]


def write_parameters(body: Body, call: Call, request: ChatRequest, unsupported: Unsupported) -> None:
    """Adds them to the body; raises InvalidField for what cannot be said there."""
    inference, output = _object(call, "inferenceConfig"), _object(call, "outputConfig")
    additional = _additional(call)
    limit = request.max_completion_tokens or request.max_tokens
    if limit is not None:
        inference["maxTokens"] = min(limit, LARGEST_COUNT)
    _sampling(inference, call, request, unsupported)
    words = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(words):
        inference["stopSequences"] = [word for word in words if word]
    if request.reasoning_effort is not None:
        _thinking(output, additional, request.reasoning_effort, call.upstream_model)
    if request.service_tier in TIERS:
        body["serviceTier"] = {"type": request.service_tier}
    elif request.service_tier not in (None, "auto"):
        unsupported.parameter("service_tier")
    _metadata(body, request, unsupported)
    for name, value in zip(MERGED, (additional, inference, output), strict=True):
        if value:
            body[name] = value
    for name in OWN & call.fields.keys():
        if bytes(call.fields[name]) != b"null":
            body[name] = call.fields[name]
    _leave_out(request, unsupported)


def _object(call: Call, name: str) -> Body:
    given = call.fields.get(name)
    if given is None or bytes(given) == b"null":
        return {}
    try:
        return dict(msgspec.json.decode(given, type=dict[str, msgspec.Raw]))
    except msgspec.ValidationError:
        raise violation.wrong_value(name, f"Invalid value for '{name}': expected an object.") from None


def _additional(call: Call) -> Body:
    """What a model has of its own: `top_k`, `thinking`, and every other field that OpenAI does not have."""
    elsewhere = _KNOWN.union(MERGED, OWN)
    own = {
        name: value
        for name, value in call.fields.items()
        if name not in elsewhere and bytes(value) != b"null"
    }
    return own | _object(call, "additionalModelRequestFields")


def _sampling(inference: Body, call: Call, request: ChatRequest, unsupported: Unsupported) -> None:
    for name, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        value = getattr(request, name)
        if value is None:
            continue
        if value <= 1:
            inference[theirs] = call.fields[name]
        else:
            unsupported.parameter(name, f"Invalid '{name}': this model takes values from 0 to 1 only.")
            inference[theirs] = 1


def _thinking(output: Body, additional: Body, effort: str, model: str) -> None:
    if effort != "none" and effort not in EFFORTS:
        raise violation.wrong_value(
            "reasoning_effort",
            f"Invalid value: '{violation.quote(effort)}'. Supported values are: 'none', 'minimal', 'low', "
            "'medium', 'high', 'xhigh' and 'max'.",
        )
    # A client that knows a model's own words for it means those.
    if _CLAUDE.search(model):
        if effort == "none":
            additional.setdefault("thinking", {"type": "disabled"})
            return
        additional.setdefault("thinking", {"type": "adaptive"})
        output.setdefault("effort", EFFORTS[effort])
    elif _NOVA.search(model):
        written = {"type": "disabled"}
        if effort != "none":
            written = {"type": "enabled", "maxReasoningEffort": THREE_EFFORTS[effort]}
        additional.setdefault("reasoningConfig", written)
    elif _GPT.search(model):
        # These cannot be kept from thinking: as little as there is comes closest.
        additional.setdefault("reasoning_effort", THREE_EFFORTS.get(effort, "low"))
    elif effort != "none":
        output.setdefault("effort", EFFORTS[effort])


def _metadata(body: Body, request: ChatRequest, unsupported: Unsupported) -> None:
    """Tags for the operator's own logs of invocations, where their letters are known there."""
    if not request.metadata:
        return
    found = {name: msgspec.json.decode(value, type=str) for name, value in request.metadata.items()}
    if all(
        name and len(text) <= METADATA_CHARACTERS and _METADATA.fullmatch(name) and _METADATA.fullmatch(text)
        for name, text in found.items()
    ):
        body["requestMetadata"] = found
    else:
        unsupported.hint("metadata")


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
