"""The dialect with a real model: what holds whatever the model happens to know."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.dialects.llamacpp import LlamaCpp
from headgate.engines.gguf import inspect_model
from tests.dialects.test_llamacpp_live import NAMED, TOOLS, Model, calls_of, text_of
from tests.engines.running import running_engine


def starter_file() -> Path:
    found = importlib.util.find_spec("headgate_starter")
    assert found is not None, "pip install -e packages/headgate-starter"
    assert found.origin is not None
    return Path(found.origin).parent / "starter-chat.gguf"


@pytest.fixture(scope="module")
def starter() -> Iterator[Model]:
    path = starter_file()
    dialect = LlamaCpp(tools_in_template=inspect_model(path).template_knows_tools)
    with running_engine(path, "--slots=2", "--alias=starter-chat") as engine:
        yield Model(engine, dialect)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_its_template_knows_tools() -> None:
    assert inspect_model(starter_file()).template_knows_tools


def test_it_says_something_and_the_stream_says_the_same(starter: Model) -> None:
    body: dict[str, Any] = {"messages": ask("Hello!"), "temperature": 0}
    reply = starter.whole(**body)
    text = reply["choices"][0]["message"]["content"]
    assert text.strip()
    assert reply["model"] == "starter-chat"
    chunks = starter.chunks(**body)
    assert text_of(chunks) == text
    assert chunks[-1]["usage"]["completion_tokens"] == reply["usage"]["completion_tokens"]


def test_usage_of_two_choices_is_the_sum_of_both(starter: Model) -> None:
    body: dict[str, Any] = {"messages": ask("你好"), "temperature": 0}
    one = starter.whole(**body)
    two = starter.whole(n=2, **body)
    assert [choice["message"]["content"] for choice in two["choices"]] == [
        one["choices"][0]["message"]["content"]
    ] * 2
    assert two["usage"]["completion_tokens"] == 2 * one["usage"]["completion_tokens"]


@pytest.mark.parametrize("seed", range(10))
def test_a_forced_call_is_a_call(starter: Model, seed: int) -> None:
    for text in ("What is the weather in Paris?", "Hello!"):
        body: dict[str, Any] = {"messages": ask(text), "tools": TOOLS, "seed": seed, "max_tokens": 500}
        calls = calls_of(starter.whole(tool_choice="required", **body))
        assert calls
        for name, arguments in calls:
            assert arguments.keys() == ({"city"} if name == "get_weather" else {"zone"})
        ((name, arguments),) = calls_of(starter.whole(tool_choice=NAMED, **body))
        assert name == "get_time"
        assert isinstance(arguments["zone"], int)


def test_a_free_choice_ends_in_words_or_in_calls(starter: Model) -> None:
    for text in ("What is the weather in Paris?", "Hello!"):
        (choice,) = starter.whole(messages=ask(text), tools=TOOLS, temperature=0, max_tokens=300)["choices"]
        if choice["finish_reason"] == "tool_calls":
            assert choice["message"]["tool_calls"]
        else:
            assert choice["message"]["content"]


def test_json_is_json(starter: Model) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "size": {"enum": ["small", "large"]}},
        "required": ["ok", "size"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    for seed in range(5):
        said = json.loads(starter.said(messages=ask("Hello!"), response_format=wanted, seed=seed))
        assert said.keys() == {"ok", "size"}
        assert isinstance(said["ok"], bool)
        assert said["size"] in ("small", "large")
