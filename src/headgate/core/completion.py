"""The request of POST /v1/completions: fields, types and documented ranges.

Must not know which upstream the request is for, nor whether its model can fill in.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

from headgate.core import violation
from headgate.core.chat import Penalty, Seed, StreamOptions, check_logit_bias

TokenId = Annotated[int, Meta(ge=0)]
Prompt = str | list[int]


class CompletionRequest(Struct, gc=False):
    """A request for text that goes on where the prompt ends; a bad combination raises InvalidField."""

    model: str
    prompt: str | Annotated[list[str | TokenId | list[TokenId]], Meta(min_length=1)] | None = None
    """A text, texts, the tokens of one text, or those of several; none begins a new document."""
    suffix: str | None = None
    max_tokens: Annotated[int, Meta(ge=0)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    stop: str | Annotated[list[str], Meta(min_length=1, max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    best_of: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Raw] | None = None
    seed: Seed | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompt, list):
            _check_kinds(self.prompt)
        if self.stream_options is not None and not self.stream:
            raise violation.only_when_enabled("stream_options", "stream")
        if self.best_of:
            if self.best_of < (self.n or 1):
                raise violation.wrong_value(
                    "best_of", "Invalid value for 'best_of': must be greater than or equal to 'n'."
                )
            if self.stream and self.best_of > (self.n or 1):
                raise violation.not_together("best_of", "stream")
        if self.logit_bias:
            check_logit_bias(self.logit_bias)

    @property
    def choice_count(self) -> int:
        """Texts that the reply is to hold."""
        return len(self.prompts()) * (self.n or 1)

    def prompts(self) -> list[Prompt]:
        """The prompts one by one, each as a text or as tokens."""
        given = self.prompt
        if given is None or isinstance(given, str):
            return [given or ""]
        if isinstance(given[0], int):
            return [given]  # type: ignore[list-item]  # one prompt, told as numbers
        return given  # type: ignore[return-value]  # all are of one kind


_WORDS = {str: "a string", int: "an integer", list: "an array"}


def _check_kinds(prompts: list[str | int | list[int]]) -> None:
    kind = type(prompts[0])
    for index, one in enumerate(prompts):
        if type(one) is not kind:
            raise violation.wrong_type(f"prompt[{index}]", _WORDS[kind], _WORDS[type(one)])
        if one == []:
            raise violation.empty_array(f"prompt[{index}]", 1)
