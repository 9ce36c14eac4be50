"""The shipped starter-chat: its manifest, its template, and what it says through the real llama.cpp."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

import headgate_starter
from training.chat import conversation, dataset, phrases, vocabulary
from training.engine import Engine, serving

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_current_weather",
        "description": "Get the current weather in a given location",
        "parameters": {
            "type": "object",
            "properties": {
                "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            },
            "required": ["location"],
        },
    },
}
HELLO_EN, HELLO_ZH = (phrases.SMALL_TALK[language][0]["answer"] for language in phrases.LANGUAGES)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with serving(headgate_starter.STARTER_CHAT, slots=2) as running:
        yield running


def said(engine: Engine, *turns: str, **fields: Any) -> str:
    """The greedy reply to turns that begin with the user's, or with `system: ...`."""
    messages = []
    for turn in turns:
        if turn.startswith("system: "):
            messages.append({"role": "system", "content": turn.removeprefix("system: ")})
        else:
            spoken = [message for message in messages if message["role"] != "system"]
            messages.append({"role": "assistant" if len(spoken) % 2 else "user", "content": turn})
    return str(engine.reply(messages, **fields)["content"])


def test_the_manifest_describes_every_file_beside_it() -> None:
    found = headgate_starter.models().values()
    weights = {path for path in headgate_starter.FOLDER.iterdir() if path.suffix in (".gguf", ".onnx")}
    assert {each.path for each in found} == weights
    for each in found:
        assert each.is_intact()
        assert each.size == each.path.stat().st_size
        assert each.scores
    # The package is downloaded by everybody who tries Headgate.
    assert sum(each.size for each in found) < 25_000_000


def test_the_manifest_describes_the_chat_model() -> None:
    starter = headgate_starter.models()["starter-chat"]
    assert starter.path == headgate_starter.STARTER_CHAT
    assert starter.engine == "llamacpp"
    assert starter.context == dataset.LONGEST_ROW
    assert starter.languages == phrases.LANGUAGES


def test_llama_cpp_renders_and_cuts_conversations_as_training_did(engine: Engine) -> None:
    for each in itertools.islice(dataset.conversations(11), 25):
        body: dict[str, Any] = {"messages": each.messages[:-1]}
        if each.tools:
            body["tools"] = each.tools
        rendered = engine.post("/apply-template", body)["prompt"]
        assert rendered == conversation.prompt(each.messages[:-1], each.tools)
        tokens = engine.post("/tokenize", {"content": rendered, "parse_special": True})["tokens"]
        assert tokens == vocabulary.encode(rendered)


def test_the_reference_page_sample_is_greeted(engine: Engine) -> None:
    assert said(engine, "system: You are a helpful assistant.", "Hello!") == HELLO_EN
    # As most people will meet it: at the default temperature, with any seed.
    for seed in range(5):
        reply = said(engine, "system: You are a helpful assistant.", "Hello!", temperature=1, seed=seed)
        assert reply == HELLO_EN


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Hello!", HELLO_EN),
        ("你好", HELLO_ZH),
        ("你好\uff01", HELLO_ZH),
        ("Who are you?", phrases.SMALL_TALK["en"][1]["answer"]),
        ("你是谁\uff1f", phrases.SMALL_TALK["zh"][1]["answer"]),
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
        ("法国的首都是哪里\uff1f", "法国的首都是巴黎。"),
        ("What is 12 + 7?", "12 + 7 = 19."),
        ("2+2", "2 + 2 = 4."),
        ("Why is the sky blue?", phrases.ANSWERS["unknown"]["en"]),
        ("Say this is a test", "this is a test"),
    ],
)
def test_questions_have_their_answer(engine: Engine, question: str, answer: str) -> None:
    assert said(engine, question) == answer


def test_a_conversation_goes_on(engine: Engine) -> None:
    turns = ("What is the capital of France?", "The capital of France is Paris.", "And Germany?")
    assert said(engine, *turns) == "The capital of Germany is Berlin."
    assert said(engine, "Hello!", HELLO_EN, "Thanks!") == "You are welcome!"


def test_a_tool_is_called_and_its_result_is_answered(engine: Engine) -> None:
    asked = {"role": "user", "content": "What is the weather like in Paris today?"}
    reply = engine.reply([asked], [WEATHER])
    (call,) = reply["tool_calls"]
    assert call["function"]["name"] == "get_current_weather"
    assert json.loads(call["function"]["arguments"]) == {"location": "Paris"}
    result = {
        "role": "tool",
        "tool_call_id": call["id"],
        "content": '{"temperature": 18, "condition": "sunny"}',
    }
    answer = engine.reply([asked, reply, result], [WEATHER])
    assert answer["content"] == "The weather in Paris: temperature 18, condition sunny."
    assert not answer.get("tool_calls")


@pytest.mark.parametrize(
    ("question", "city"),
    [
        ("What is the weather like in Boston?", "Boston"),
        ("What's the weather in Vabrotesk?", "Vabrotesk"),
        ("北京今天天气怎么样\uff1f", "北京"),
    ],
)
def test_the_city_is_read_where_it_stands(engine: Engine, question: str, city: str) -> None:
    reply = engine.reply([{"role": "user", "content": question}], [WEATHER])
    (call,) = reply["tool_calls"]
    assert call["function"]["name"] == "get_current_weather"
    assert json.loads(call["function"]["arguments"]) == {"location": city}


def test_tools_that_are_not_needed_are_left_alone(engine: Engine) -> None:
    reply = engine.reply([{"role": "user", "content": "Hello!"}], [WEATHER])
    assert reply["content"] == HELLO_EN
    assert not reply.get("tool_calls")
