"""The request of POST /v1/embeddings: fields, types and documented ranges.

What the tokens of an input are worth is the model's to say. Must not know which upstream the request is for.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from headgate.core import violation

MOST_INPUTS = 2048
"""Texts in one request, and tokens in an input that comes as tokens (OpenAI's document says both)."""

TokenId = Annotated[int, Meta(ge=0)]


class EmbeddingRequest(Struct, gc=False):
    """A request for vectors; a list that mixes kinds, or an empty text, raises InvalidField."""

    model: str
    input: str | Annotated[list[str | TokenId | list[TokenId]], Meta(min_length=1, max_length=MOST_INPUTS)]
    """A text, texts, the tokens of one text, or those of several."""
    encoding_format: str | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None

    stream: ClassVar[bool | None] = None
    """Never: a reply to this is whole."""
    stream_options: ClassVar[None] = None

    def __post_init__(self) -> None:
        given = self.input
        if isinstance(given, str):
            _check_input("input", given)
            return
        kind = type(given[0])
        for index, one in enumerate(given):
            if type(one) is not kind:
                raise violation.wrong_type(f"input[{index}]", _WORDS[kind], _WORDS[type(one)])
            if kind is not int:
                _check_input(f"input[{index}]", one)  # type: ignore[arg-type]  # no number, as was just seen

    def inputs(self) -> list[str | list[int]]:
        """The inputs one by one, each as a text or as tokens."""
        given = self.input
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], int):
            return [given]  # type: ignore[list-item]  # one input, told as numbers
        return given  # type: ignore[return-value]  # all are of one kind


_WORDS = {str: "a string", int: "an integer", list: "an array"}


def _check_input(param: str, value: str | list[int]) -> None:
    if not value:
        raise (violation.empty_string if isinstance(value, str) else violation.empty_array)(param, 1)
