"""The request of /v1/embeddings: what passes the door, and how the rest is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.body import open_body
from headgate.core.embedding import MOST_INPUTS, EmbeddingRequest
from headgate.core.errors import InvalidField


def opened(**body: Any) -> EmbeddingRequest:
    return open_body(json.dumps({"model": "m", **body}).encode(), EmbeddingRequest)[0]


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (["a"] * MOST_INPUTS, ["a"] * MOST_INPUTS),
    ],
)
def test_inputs_one_by_one(given: Any, inputs: list[Any]) -> None:
    assert opened(input=given).inputs() == inputs


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ("", "input", "empty_string"),
        ([], "input", "empty_array"),
        ([""], "input[0]", "empty_string"),
        ([[]], "input[0]", "empty_array"),
        (["a", 1], "input[1]", "invalid_type"),
        ([1, "a"], "input[1]", "invalid_type"),
        ([[1], "a"], "input[1]", "invalid_type"),
        ([None], "input[0]", "invalid_type"),
        ([1.5], "input[0]", "invalid_type"),
        ([[-1]], "input[0][0]", "integer_below_min_value"),
        (None, "input", "invalid_type"),
        (["a"] * (MOST_INPUTS + 1), "input", "array_above_max_length"),
    ],
)
def test_what_is_no_input(given: Any, param: str, code: str) -> None:
    with pytest.raises(InvalidField) as refused:
        opened(input=given)
    assert (refused.value.param, refused.value.code) == (param, code)


def test_the_rest_is_typed() -> None:
    for name, value in (("dimensions", 0), ("dimensions", "3"), ("encoding_format", 3), ("user", 1)):
        with pytest.raises(InvalidField) as refused:
            opened(input="a", **{name: value})
        assert refused.value.param == name
