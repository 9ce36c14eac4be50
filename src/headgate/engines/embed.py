"""The program behind `headgate engine embed`: POST /v1/embeddings through onnxruntime, in OpenAI's format.

Must not know the gate, which may or may not have started it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headgate.core import violation
from headgate.core.body import open_body
from headgate.core.embedding import EmbeddingRequest
from headgate.core.errors import InvalidField, SettingsError
from headgate.core.ports import Exchange
from headgate.endpoints import EMBEDDINGS
from headgate.engines.batches import Batches
from headgate.engines.place import place_options
from headgate.engines.program import (
    JSON,
    Options,
    Program,
    Service,
    Worker,
    check_model,
    model_options,
    one_of,
    prepare,
)

if TYPE_CHECKING:
    import numpy as np

    from headgate.engines.embed_model import EmbeddingModel

MOST_TOKENS = 300_000
"""In all inputs of one request, as at OpenAI."""

Tokens = list[int]


@click.command(name="embed", context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option(
    "--model", type=click.Path(path_type=Path, exists=True), required=True,
    help="The model's folder in sentence-transformers' style, or an ONNX file in it.",
)  # fmt: skip
@click.option("--alias", help="What replies call the model.  [default: the folder's name]")
@click.option(
    "--context", type=click.IntRange(1), help="Tokens of one text.  [default: what the folder says]"
)
@click.option("--sha256", help="What the weights' file must hash to.  [default: any]")
@place_options
@model_options
def command(
    context: int | None, sha256: str | None, model: Path, alias: str | None, **options: Any
) -> Program:
    """Serve embeddings of one model, in OpenAI's format."""
    taken = Options(model=model, alias=alias or model.absolute().name, **options)
    prepare(taken)
    try:
        from headgate.engines.embed_model import EmbeddingModel
    except ImportError as error:
        raise SettingsError(f"{error.name} is missing: pip install 'headgate[embed]'") from None
    loaded = EmbeddingModel(model, threads=taken.thread_count, context_tokens=context, sha256=sha256)
    service = Service(EMBEDDINGS.path, Embeddings(taken, loaded).answer, EMBEDDINGS.body_limit_bytes)
    return Program(taken, (service,))


class _Embedding(msgspec.Struct):
    object: str
    index: int
    embedding: list[float] | str


class _Reply(msgspec.Struct):
    object: str
    data: list[_Embedding]
    model: str
    usage: dict[str, int]


class Embeddings:
    """Answers requests for vectors."""

    def __init__(self, options: Options, model: EmbeddingModel) -> None:
        self._options = options
        self._model = model
        self._reading = Worker("tokens")
        self._batches: Batches[Tokens, np.ndarray[Any, Any]] = Batches(self._compute)

    async def answer(self, exchange: Exchange) -> None:
        """One request, checked, computed together with others, and told."""
        request, _ = open_body(await exchange.body(), EmbeddingRequest)
        check_model(request.model, self._options)
        self._check(request)
        tokens = await self._reading.do(self._tokens, request.inputs())
        vectors = await self._batches.results(tokens)
        exchange.reply(200, JSON, await self._reading.do(self._told, request, tokens, vectors))

    def _check(self, request: EmbeddingRequest) -> None:
        one_of("encoding_format", request.encoding_format or "float", ("float", "base64"))
        if request.dimensions is not None and request.dimensions > self._model.dimensions:
            raise violation.above_maximum(
                "dimensions", "integer", self._model.dimensions, str(request.dimensions)
            )

    def _tokens(self, inputs: Sequence[str | Tokens]) -> list[Tokens]:
        """The tokens of every input; raises InvalidField for one that the model cannot read."""
        named = isinstance(inputs[0], str)
        if named:
            found = self._model.tokens(inputs)  # type: ignore[arg-type]  # all are of one kind
        else:
            found = [self._framed(index, one, len(inputs)) for index, one in enumerate(inputs)]  # type: ignore[arg-type]
        for tokens in found:
            if len(tokens) > self._model.context_tokens:
                raise violation.context_too_long("input", self._model.context_tokens, len(tokens))
        total = sum(map(len, found))
        if total > MOST_TOKENS:
            raise InvalidField(
                f"Requested {total} tokens, max {MOST_TOKENS} tokens per request.",
                param="input",
                code="max_tokens_per_request",
            )
        return found

    def _framed(self, index: int, tokens: Tokens, count: int) -> Tokens:
        for token in tokens:
            if token >= self._model.vocabulary:
                raise violation.wrong_value(
                    f"input[{index}]" if count > 1 else "input",
                    f"Invalid token: {token} is not in this model's vocabulary of {self._model.vocabulary}.",
                )
        return self._model.framed(tokens)

    def _compute(self, rows: Sequence[Tokens]) -> Sequence[np.ndarray[Any, Any]]:
        return self._model.vectors(rows)  # type: ignore[return-value]  # iterated by rows

    def _told(
        self, request: EmbeddingRequest, tokens: list[Tokens], vectors: list[np.ndarray[Any, Any]]
    ) -> bytes:
        if request.dimensions is not None and request.dimensions < self._model.dimensions:
            from headgate.engines.embed_model import unit

            # Cut and set to length one again, as OpenAI does it.
            vectors = [unit(vector[: request.dimensions]) for vector in vectors]
        packed = request.encoding_format == "base64"
        count = sum(map(len, tokens))
        reply = _Reply(
            "list",
            [
                _Embedding(
                    "embedding",
                    index,
                    base64.b64encode(vector.astype("<f4").tobytes()).decode() if packed else vector.tolist(),
                )
                for index, vector in enumerate(vectors)
            ],
            self._options.alias,
            {"prompt_tokens": count, "total_tokens": count},
        )
        return msgspec.json.encode(reply)
