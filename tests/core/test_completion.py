"""The request of /v1/completions: what passes the door, and how the rest is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.body import open_body
from headgate.core.completion import CompletionRequest
from headgate.core.errors import InvalidField


def opened(**body: Any) -> CompletionRequest:
    return open_body(json.dumps({"model": "m", **body}).encode(), CompletionRequest)[0]


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("a", ["a"]),
        (None, [""]),
        (["a", ""], ["a", ""]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_prompts_one_by_one(given: Any, prompts: list[Any]) -> None:
    assert opened(prompt=given).prompts() == prompts


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": [[1], []]}, "prompt[1]", "empty_array"),
        ({"prompt": ["a", 1]}, "prompt[1]", "invalid_type"),
        ({"prompt": [1, [1]]}, "prompt[1]", "invalid_type"),
        ({"prompt": {}}, "prompt", "invalid_type"),
        ({"prompt": [-1]}, "prompt[0]", "integer_below_min_value"),
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"logprobs": True}, "logprobs", "invalid_type"),
        ({"best_of": 21}, "best_of", "integer_above_max_value"),
        ({"best_of": 2, "n": 3}, "best_of", "invalid_value"),
        ({"best_of": 3, "n": 2, "stream": True}, "best_of", "invalid_parameter_combination"),
        ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 129}, "n", "integer_above_max_value"),
        ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
        ({"top_p": -0.1}, "top_p", "decimal_below_min_value"),
        ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
        ({"suffix": 1}, "suffix", "invalid_type"),
        ({"echo": "yes"}, "echo", "invalid_type"),
        ({"stream_options": {}}, "stream_options", None),
        ({"logit_bias": {"x": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "integer_above_max_value"),
        ({"presence_penalty": 3}, "presence_penalty", "decimal_above_max_value"),
        ({"frequency_penalty": -3}, "frequency_penalty", "decimal_below_min_value"),
        ({"seed": 1.5}, "seed", "invalid_type"),
        ({"user": 1}, "user", "invalid_type"),
    ],
)
def test_what_is_refused(body: dict[str, Any], param: str, code: str | None) -> None:
    with pytest.raises(InvalidField) as refused:
        opened(**{"prompt": "a", **body})
    assert (refused.value.param, refused.value.code) == (param, code)


def test_best_of_may_be_what_n_is_even_in_a_stream() -> None:
    assert opened(prompt="a", best_of=2, n=2, stream=True).best_of == 2
    assert opened(prompt="a", best_of=0).best_of == 0


def test_every_prompt_has_its_choices() -> None:
    assert opened(prompt="a").choice_count == 1
    assert opened(prompt=["a", "b"], n=3).choice_count == 6
    assert opened(prompt=[1, 2], n=2).choice_count == 2
