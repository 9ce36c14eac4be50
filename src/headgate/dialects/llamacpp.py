"""llama.cpp's dialect of OpenAI's format: every correction that its server needs, with `llamacpp_*.py`.

Only named fields pass: llama.cpp has powers that no client of ours may have (grammars, slots, adapters).
Must not know whether the server is a child of ours or somebody else's.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest
from headgate.core.completion import CompletionRequest
from headgate.core.cut import WholeBodyNeeded
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import ApiError, BadRequest, InvalidField, Overloaded, UpstreamFailed
from headgate.core.ports import Call, Headers, Outgoing, Translator
from headgate.core.seeing import PicturesWanted, has_pictures
from headgate.dialects.call_grammar import call_grammar
from headgate.dialects.call_text import FreeCalls, GrammarCalls
from headgate.dialects.embedded import wrong_endpoint
from headgate.dialects.json_schema import enforceable
from headgate.dialects.json_schema_rules import Budget
from headgate.dialects.llamacpp_completion import UNKNOWN, Beginnings, write_completion
from headgate.dialects.llamacpp_embedding import too_long_input, write_embedding
from headgate.dialects.llamacpp_messages import tools_in_words, write_messages
from headgate.dialects.llamacpp_reply import Opening, Reply, ReplyPlan
from headgate.dialects.llamacpp_sampling import LARGEST_COUNT, RANDOM_SEED, own_numbers, stop_words
from headgate.dialects.llamacpp_tools import Offer, read_offer
from headgate.dialects.openai import bearer
from headgate.dialects.refusal import clean, refusal

PASSED = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "n")
"""Fields that go on as they came. Everything else is made here, or stays here."""

LOADING_RETRY_MS = 1000

_FIELD = re.compile(r"^Field '(?P<field>\w+)': (?P<what>.*)", re.DOTALL)
_RANGE = re.compile(r"between (?P<low>-?\d+) <= value <= (?P<high>-?\d+), but got (?P<got>-?\d+)")
_TEMPLATE = re.compile(r"Jinja Exception: (?P<said>[^\n]*)")


class LlamaCpp:
    """The dialect of llama.cpp's server, for chat and for legacy completions."""

    def __init__(
        self,
        *,
        images: bool = False,
        tools_in_template: bool = True,
        beginnings: Beginnings = UNKNOWN,
        vector_length: int | None = None,
    ) -> None:
        """`images`: the model has eyes. `tools_in_template`: its template shows tools to the model.

        `beginnings` are the tokens with which it begins a document or fills in a gap, as far as known.
        `vector_length` is given for a model that makes vectors, and nothing else.
        """
        self._vector_length = vector_length
        self._images = images
        self._tools_in_template = tools_in_template
        self._beginnings = beginnings

    def request(self, call: Call) -> Outgoing:
        """A request for llama.cpp; raises InvalidField for what it cannot do."""
        request = call.request
        if isinstance(request, EmbeddingRequest) and self._vector_length is not None:
            return write_embedding(call, request, self._vector_length)
        if self._vector_length is not None:
            raise wrong_endpoint(call)
        if isinstance(request, CompletionRequest):
            return write_completion(call, request, self._beginnings)
        if not isinstance(request, ChatRequest):
            raise wrong_endpoint(call)
        _refuse_what_needs_more(request)
        if self._images and not call.pictures_at_hand and has_pictures(request):
            # Only PNG and JPEG are read there; a URL would be fetched, from wherever this machine can reach.
            raise WholeBodyNeeded if call.abridged else PicturesWanted
        budget = Budget()
        offer = read_offer(call, request, budget)
        body: dict[str, Any] = {name: call.fields[name] for name in PASSED if name in call.fields}
        body["model"] = call.upstream_model
        messages = write_messages(
            request.messages,
            call.fields["messages"],
            images=self._images,
            tools_in_template=self._tools_in_template,
        )
        body["messages"] = messages
        _sampling(body, call, request)
        template = _template_words(call, request)
        _go_on(body, template, call)
        in_words = offer is not None and not self._tools_in_template
        if offer is not None and in_words:
            body["messages"] = tools_in_words(messages, [function.told() for function in offer.functions])
        if offer is not None and offer.forced:
            _force(body, template, offer, in_words=in_words)
        else:
            _response_format(body, call, request, budget)
            if offer is not None and not in_words:
                body["tools"] = [
                    {"type": "function", "function": function.told()} for function in offer.functions
                ]
                body["tool_choice"] = "auto"
                body["parallel_tool_calls"] = offer.many
        if template:
            body["chat_template_kwargs"] = template
        plan = _plan(body, request, offer, in_words=in_words)
        translator: Translator | None = Reply(plan) if plan else None
        several = request.n is not None and request.n > 1
        if call.stream or several:
            # A whole reply counts the tokens of one choice, and a stream those of each.
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
            translator = translator or (Reply(ReplyPlan()) if several else Opening())
        return Outgoing("/chat/completions", msgspec.json.encode(body), translator=translator)

    def credentials(self, key: str) -> Headers:
        """The header that carries the key."""
        return bearer(key)

    def error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        """An error reply of llama.cpp's: what the client did wrong, or what is wrong here."""
        try:
            error = msgspec.json.decode(body, type=_ErrorReply).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return refusal(status, headers, body)
        if status == 503:
            return Overloaded("The model is still loading.", retry_after_ms=LOADING_RETRY_MS)
        if error.type == "exceed_context_size_error":
            return _too_long(error)
        if "physical batch size" in error.message:
            return too_long_input(error.message)
        if status == 400 or "is not supported - hint" in error.message:
            return _refused(error.message)
        return UpstreamFailed("The model could not handle the request.")


class _Error(msgspec.Struct):
    message: str = ""
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _ErrorReply(msgspec.Struct):
    error: _Error


def _too_long(error: _Error) -> InvalidField:
    return InvalidField(
        f"This model's maximum context length is {error.n_ctx} tokens. However, your messages resulted in "
        f"{error.n_prompt_tokens} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def _refused(message: str) -> ApiError:
    field = _FIELD.match(message)
    if field:
        bounds = _RANGE.search(field["what"])
        if bounds is None:
            return violation.wrong_value(field["field"], f"Invalid value for '{field['field']}'.")
        low, high, got = int(bounds["low"]), int(bounds["high"]), int(bounds["got"])
        if got < low:
            return violation.below_minimum(field["field"], "integer", low, str(got))
        return violation.above_maximum(field["field"], "integer", high, str(got))
    template = _TEMPLATE.search(message)
    if template:
        said = clean(template["said"])
        return InvalidField(
            f"The model's chat template does not take these messages: {said}",
            param="messages",
            code="invalid_value",
        )
    if "grammar" in message or "JSON schema" in message:
        return BadRequest("The JSON schema of this request cannot be enforced by this model's engine.")
    if "invalid tokens" in message:
        return violation.wrong_value(
            "prompt", "Invalid value for 'prompt': it holds tokens that this model does not have."
        )
    if "image" in message:
        return InvalidField(
            "A picture of this request cannot be read.", param="messages", code="invalid_value"
        )
    return BadRequest(clean(message))


# --- the request, field by field ------------------------------------------------------------------


def _refuse_what_needs_more(request: ChatRequest) -> None:
    if request.modalities is not None and set(request.modalities) - {"text"}:
        raise violation.wrong_value(
            "modalities", "Invalid value for 'modalities': this model writes text only."
        )
    if request.web_search_options is not None:
        raise InvalidField(
            "Unsupported parameter: 'web_search_options' is not supported with this model.",
            param="web_search_options",
            code="unsupported_parameter",
        )


def _sampling(body: dict[str, Any], call: Call, request: ChatRequest) -> None:
    own_numbers(body, call.fields)
    limit = request.max_completion_tokens or request.max_tokens
    if limit is not None:
        body["max_tokens"] = min(limit, LARGEST_COUNT)
    if request.seed is not None:
        body["seed"] = request.seed % RANDOM_SEED
    if request.stop is not None:
        body["stop"] = stop_words(request.stop)
    if request.logprobs:
        # None at all would be the answer to no alternatives; the one too many is taken out again.
        body["logprobs"] = True
        body["top_logprobs"] = max(request.top_logprobs or 0, 1)


def _template_words(call: Call, request: ChatRequest) -> dict[str, Any]:
    """What the client says to the model's template, plain values only."""
    words: dict[str, Any] = {}
    given = call.fields.get("chat_template_kwargs")
    if given is not None and bytes(given) != b"null":
        try:
            words = msgspec.json.decode(given, type=dict[str, bool | int | float | str | None])
        except msgspec.ValidationError:
            raise violation.wrong_value(
                "chat_template_kwargs",
                "Invalid value for 'chat_template_kwargs': expected an object of plain values.",
            ) from None
    if request.reasoning_effort is not None:
        words.setdefault("reasoning_effort", request.reasoning_effort)
        if request.reasoning_effort == "none":
            words.setdefault("enable_thinking", False)
    return words


def _go_on(body: dict[str, Any], template: dict[str, Any], call: Call) -> None:
    """The last message is the beginning of the answer, if the request says so (the field is vLLM's)."""
    if bytes(call.fields.get("continue_final_message", b"")) == b"true":
        body["continue_final_message"] = True
        body["add_generation_prompt"] = False
        # Thoughts come before an answer, and this one has begun.
        template.setdefault("enable_thinking", False)


def _force(body: dict[str, Any], template: dict[str, Any], offer: Offer, *, in_words: bool) -> None:
    """A grammar that allows calls and nothing else; llama.cpp's own allows any text before one.

    It takes a grammar only without tools, so that the template is told of them behind its back.
    """
    schemas = [(function.name, function.parameters) for function in offer.functions]
    body["grammar"] = call_grammar(schemas, many=offer.many)
    # The grammar ends the call; a client's own stop words could only break it off.
    body.pop("stop", None)
    # Else a model that is made to think would find its call among its thoughts.
    body["reasoning_format"] = "none"
    template["enable_thinking"] = False
    if not in_words:
        template["tools"] = [
            {"type": "function", "function": function.told()} for function in offer.functions
        ]


def _response_format(body: dict[str, Any], call: Call, request: ChatRequest, budget: Budget) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type == "json_object":
        body["response_format"] = {"type": "json_object"}
    elif wanted.type == "json_schema" and wanted.json_schema is not None:
        given = msgspec.json.decode(call.fields["response_format"])["json_schema"].get("schema")
        schema = enforceable(
            {"type": "object"} if given is None else given,
            "response_format.json_schema.schema",
            budget,
            strict=wanted.json_schema.strict is True,
        )
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": wanted.json_schema.name, "schema": schema},
        }
    else:
        raise violation.wrong_value(
            "response_format.type",
            f"Invalid value: '{violation.quote(wanted.type)}'. Supported values are: 'text', 'json_object' "
            "and 'json_schema'.",
        )


def _plan(
    body: dict[str, Any], request: ChatRequest, offer: Offer | None, *, in_words: bool
) -> ReplyPlan | None:
    """What has to be done to the reply; None when nothing has."""
    top = (request.top_logprobs or 0) if request.logprobs else None
    if offer is None:
        return ReplyPlan(top_logprobs=top) if top is not None else None
    if offer.forced:
        # The probabilities would be those of the grammar's marks.
        for name in ("logprobs", "top_logprobs"):
            body.pop(name, None)
        return ReplyPlan(GrammarCalls, offer.legacy)
    if in_words:
        names = frozenset(function.name for function in offer.functions)
        return ReplyPlan(partial(FreeCalls, names, many=offer.many), offer.legacy, top)
    if top is not None and (request.stream or (request.n or 1) > 1):
        raise InvalidField(
            "'logprobs' cannot be had together with tools here, in a stream or with 'n' above 1.",
            param="logprobs",
            code="invalid_parameter_combination",
        )
    return ReplyPlan(None, offer.legacy, top, single=not offer.many)
