"""Legacy completions as llama.cpp takes them: prompts, candidates, gaps to fill in.

What its server ignores (echo, best_of, suffix) is done here and in `llamacpp_completion_reply.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.completion import CompletionRequest, Prompt
from headgate.core.errors import InvalidField
from headgate.core.ports import Call, Outgoing
from headgate.dialects.llamacpp_completion_reply import CompletionPlan, CompletionReply
from headgate.dialects.llamacpp_sampling import LARGEST_COUNT, RANDOM_SEED, own_numbers, stop_words

PASSED = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias")
"""Fields that go on as they came."""

DEFAULT_TOKENS = 16
"""OpenAI's `max_tokens` for this endpoint; llama.cpp would write until its context is full."""

MOST_CHOICES = 512
"""Prompts times candidates: each is a task of its own in the server's queue."""


class Beginnings(msgspec.Struct, frozen=True):
    """Tokens of a model's vocabulary that a prompt may begin with."""

    document: int | None = None
    """Begins a text of which nothing is known."""
    gap: tuple[int, int, int] | None = None
    """Before what precedes a gap, before what follows it, before what fills it."""


UNKNOWN = Beginnings()


def write_completion(call: Call, request: CompletionRequest, beginnings: Beginnings) -> Outgoing:
    """A request for llama.cpp's `/completions`; raises InvalidField for what it cannot do."""
    if request.echo and request.logprobs is not None:
        raise InvalidField(
            "'logprobs' cannot be had together with 'echo' here: this model's engine does not tell the "
            "probabilities of a prompt.",
            param="logprobs",
            code="invalid_parameter_combination",
        )
    prompts = request.prompts()
    candidates = request.best_of or request.n or 1
    _check_size(request, len(prompts), candidates)
    body: dict[str, Any] = {name: call.fields[name] for name in PASSED if name in call.fields}
    body["model"] = call.upstream_model
    own_numbers(body, call.fields)
    limit = DEFAULT_TOKENS if request.max_tokens is None else request.max_tokens
    # It writes one token where it is asked for none.
    body["max_tokens"] = min(max(limit, 1), LARGEST_COUNT)
    if request.stop is not None:
        body["stop"] = stop_words(request.stop)
    written = [_written(prompt, request, beginnings) for prompt in prompts]
    if request.seed is not None:
        # Candidates of one prompt get seeds that follow each other; that way it has no more than slots.
        body["seed"] = request.seed % RANDOM_SEED
        body["n"] = candidates
    else:
        written = [prompt for prompt in written for _ in range(candidates)]
    body["prompt"] = written
    chosen = candidates > (request.n or 1)
    if request.logprobs is not None or chosen:
        # None at all would be the answer to no alternatives.
        body["logprobs"] = max(request.logprobs or 0, 1)
    texts = _echoed(body, request, prompts)
    plan = CompletionPlan(
        candidates=candidates,
        wanted=request.n or 1,
        top_logprobs=request.logprobs,
        echo=texts,
        silent=limit == 0,
    )
    if call.stream or len(written) > 1 or candidates > 1:
        # A whole reply counts the tokens of one choice, and a stream those of each.
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return Outgoing("/completions", msgspec.json.encode(body), translator=CompletionReply(plan))


def _check_size(request: CompletionRequest, prompts: int, candidates: int) -> None:
    if prompts * candidates > MOST_CHOICES:
        param = "prompt" if prompts > MOST_CHOICES else ("best_of" if request.best_of else "n")
        raise violation.wrong_value(
            param,
            f"Invalid value for '{param}': this model gives at most {MOST_CHOICES} answers to a request.",
        )


def _written(prompt: Prompt, request: CompletionRequest, beginnings: Beginnings) -> Any:
    """A prompt as llama.cpp reads it: a text, tokens, or a mixture of both."""
    if request.suffix:
        if beginnings.gap is None:
            raise InvalidField(
                "Unsupported parameter: 'suffix' is not supported with this model: it has not learned to "
                "fill in a gap.",
                param="suffix",
                code="unsupported_parameter",
            )
        before, after, filled = beginnings.gap
        parts = prompt if isinstance(prompt, list) else [prompt]
        return [before, *parts, after, request.suffix, filled]
    if prompt == "":
        if beginnings.document is None:
            raise violation.wrong_value(
                "prompt", "Invalid value for 'prompt': this model cannot begin without a text."
            )
        return [beginnings.document]
    return prompt


def _echoed(
    body: dict[str, Any], request: CompletionRequest, prompts: list[Prompt]
) -> list[str | None] | None:
    """The texts that replies are to begin with: None for those that only the engine knows, for it is told."""
    if not request.echo:
        return None
    texts = [prompt if isinstance(prompt, str) else None for prompt in prompts]
    if None in texts:
        if request.stream:
            raise InvalidField(
                "'echo' of tokens cannot be streamed by this model's engine.",
                param="echo",
                code="invalid_parameter_combination",
            )
        # It then shows, at the end of each choice, the prompt as a text.
        body["verbose"] = True
    return texts
