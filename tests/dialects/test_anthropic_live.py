"""Anthropic's dialect against a real server of another maker: conversations with llama.cpp's /v1/messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.engines.running import running_engine
from tests.gates import open_gate
from tests.models.bigram import CHATML, CHATML_TOOLS, write_bigram

SAYS = "Fifteen degrees, and it is noon."
CALLS = (
    '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "get_time", "arguments": {"zone": 1}}\n</tool_call>'
)
TOOLS: Any = [
    {"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {field: {"type": kind}}, "required": [field]}}}
    for name, field, kind in (("get_weather", "city", "string"), ("get_time", "zone", "integer"))
]  # fmt: skip
USER = {"role": "user", "content": "hi"}


def prompt_tokens(*turns: tuple[str, str]) -> int:
    """What the template makes of these turns: one token for each mark, one for each byte."""
    return sum(len(f"^{role}\n{content}$\n") for role, content in turns) + len("^assistant\n")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """The official client of a gate before two engines: `talker` talks, `caller` calls two functions."""
    folder = tmp_path_factory.mktemp("live")
    talker = write_bigram(folder / "talker.gguf", SAYS, template=CHATML)
    caller = write_bigram(folder / "caller.gguf", CALLS, template=CHATML_TOOLS)
    with running_engine(talker) as first, running_engine(caller) as second:
        toml = "\n".join(
            f'[[upstream]]\nname = "{name}"\ndialect = "anthropic"\nunsupported = "drop"\n'
            f'base_url = "unix:{engine.socket_path}:/v1"\nmodels = ["{name}"]\n'
            for name, engine in (("talker", first), ("caller", second))
        )
        with (
            open_gate(folder / "gate", toml) as gate,
            openai.OpenAI(base_url=f"{gate.url}/v1", api_key=gate.key, max_retries=0) as opened,
        ):
            yield opened


def ask(client: openai.OpenAI, model: str, messages: list[Any], **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=messages, **more)


def test_a_conversation(client: openai.OpenAI) -> None:
    reply = ask(
        client,
        "talker",
        [
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
        ],
    )
    assert (reply.object, reply.model) == ("chat.completion", "talker")
    assert reply.created > 1_700_000_000
    choice = reply.choices[0]
    assert (choice.message.content, choice.finish_reason) == (SAYS, "stop")
    # Every word that was said, in its place, is in the prompt.
    expected = prompt_tokens(
        ("system", "Be brief."), ("user", "hi"), ("assistant", "Hello."), ("user", "And now?")
    )
    assert reply.usage.prompt_tokens == expected
    assert reply.usage.total_tokens == expected + reply.usage.completion_tokens


def test_a_stream(client: openai.OpenAI) -> None:
    chunks = list(ask(client, "talker", [USER], stream=True, stream_options={"include_usage": True}))
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert (deltas[0].role, deltas[0].content) == ("assistant", "")
    assert "".join(delta.content or "" for delta in deltas) == SAYS
    assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.prompt_tokens == prompt_tokens(("user", "hi"))
    assert chunks[-1].usage.completion_tokens > 5


def test_a_cut_off_stream(client: openai.OpenAI) -> None:
    chunks = list(ask(client, "talker", [USER], stream=True, max_completion_tokens=3))
    assert chunks[-1].choices[0].finish_reason == "length"
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert said
    assert SAYS.startswith(said)


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_calls_and_their_results(client: openai.OpenAI, choice: str) -> None:
    whole = ask(client, "caller", [USER], tools=TOOLS, tool_choice=choice).choices[0]
    assert whole.finish_reason == "tool_calls"
    assert whole.message.content is None
    found = [(call.function.name, call.function.arguments) for call in whole.message.tool_calls]
    assert found == [("get_weather", '{"city":"Paris"}'), ("get_time", '{"zone":1}')]

    chunks = list(ask(client, "caller", [USER], tools=TOOLS, tool_choice=choice, stream=True))
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    calls: dict[int, list[str]] = {}
    for call in (call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()):
        if call.index not in calls:
            assert call.id
            assert call.type == "function"
            calls[call.index] = [call.function.name, ""]
        calls[call.index][1] += call.function.arguments
    assert calls == {0: ["get_weather", '{"city": "Paris"}'], 1: ["get_time", '{"zone": 1}']}

    # The results come back in the other order, and something is said between them.
    weather, time = whole.message.tool_calls
    history = [
        USER,
        whole.message,
        {"role": "tool", "tool_call_id": time.id, "content": "noon"},
        {"role": "user", "content": "quick"},
        {"role": "tool", "tool_call_id": weather.id, "content": "15"},
    ]
    answer = ask(client, "talker", history, tools=TOOLS, stream=True, temperature=0.1)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == SAYS


def test_a_dropped_parameter_is_told(client: openai.OpenAI) -> None:
    for stream in (False, True):
        raw = client.chat.completions.with_raw_response.create(
            model="talker",
            messages=[{"role": "user", "content": "hi"}],
            seed=7,
            temperature=0.3,
            stream=stream,
        )
        assert raw.headers["x-headgate-dropped"] == "temperature, seed"
        raw.http_response.close()


def test_an_error_in_another_shape(client: openai.OpenAI) -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "talker", [{"role": "user", "content": [picture]}])
    assert caught.value.status_code in (400, 502)
    body: Any = caught.value.body
    assert body.keys() == {"message", "type", "param", "code"}
