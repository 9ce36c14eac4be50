"""OpenAI's Python SDK, unchanged, over a real socket, against the starter model behind the gate."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import openai
import pydantic
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam

from tests.conftest import run
from tests.gates import RunningGate

GREETING: list[ChatCompletionMessageParam] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Hello!"},
]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(starter_gate: RunningGate) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{starter_gate.url}/v1", api_key=starter_gate.key, max_retries=0) as client:
        yield client


def test_a_whole_reply_has_every_member_the_sdk_promises(client: OpenAI) -> None:
    completion = client.chat.completions.create(model="gpt-4o-mini", messages=GREETING, temperature=0)
    assert completion.object == "chat.completion"
    assert completion.model == "starter-chat", "the reply tells which model really answered"
    [choice] = completion.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "stop"
    assert completion.usage is not None
    assert (
        completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    )
    assert completion._request_id is not None
    assert completion._request_id.startswith("req_")


def test_a_stream_says_the_same_as_the_whole_reply(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="starter-chat", messages=GREETING, temperature=0)
    stream = client.chat.completions.create(
        model="starter-chat", messages=GREETING, temperature=0, stream=True
    )
    chunks = list(stream)
    assert_stream_rules(chunks)
    assert _text(chunks) == whole.choices[0].message.content
    assert all(chunk.usage is None for chunk in chunks), "nobody asked for usage"


def test_usage_comes_last_when_it_is_asked_for(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="starter-chat", messages=GREETING, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = list(stream)
    assert_stream_rules(chunks)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0
    assert last.usage.prompt_tokens > 0


def test_several_choices_keep_their_own_index(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="starter-chat", messages=GREETING, n=3, temperature=0)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.usage is not None
    single = client.chat.completions.create(model="starter-chat", messages=GREETING, temperature=0)
    assert single.usage is not None
    assert whole.usage.completion_tokens == 3 * single.usage.completion_tokens
    assert whole.usage.prompt_tokens == single.usage.prompt_tokens
    chunks = list(
        client.chat.completions.create(
            model="starter-chat", messages=GREETING, n=3, temperature=0, stream=True
        )
    )
    assert_stream_rules(chunks, choices=3)


def test_the_helper_for_streams_puts_the_reply_together(client: OpenAI) -> None:
    with client.chat.completions.stream(model="starter-chat", messages=GREETING, temperature=0) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_forced_tool_is_called(client: OpenAI, choice: Any) -> None:
    completion = client.chat.completions.create(
        model="starter-chat",
        messages=[{"role": "user", "content": "What's the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice=choice,
        temperature=0,
    )
    message = completion.choices[0].message
    assert completion.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls
    call = message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_a_tool_conversation_goes_round(client: OpenAI) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "What's the weather in Paris?"}]
    asked = client.chat.completions.create(
        model="starter-chat", messages=messages, tools=[WEATHER], tool_choice="required", temperature=0
    )
    [call] = asked.choices[0].message.tool_calls or []
    messages.append(asked.choices[0].message.to_dict())  # type: ignore[arg-type]
    messages.append(
        {"role": "tool", "tool_call_id": call.id, "content": '{"temp": 21, "condition": "sunny"}'}
    )
    answered = client.chat.completions.create(
        model="starter-chat", messages=messages, tools=[WEATHER], tool_choice="none", temperature=0
    )
    assert answered.choices[0].finish_reason == "stop"
    assert answered.choices[0].message.content
    assert not answered.choices[0].message.tool_calls


def test_tool_call_deltas_are_well_formed(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="starter-chat",
            messages=[{"role": "user", "content": "What's the weather in Paris?"}],
            tools=[WEATHER],
            tool_choice="required",
            temperature=0,
            stream=True,
        )
    )
    deltas = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    first, *rest = deltas
    assert first.index == 0
    assert first.id
    assert first.type == "function"
    assert first.function is not None
    assert first.function.name == "get_weather"
    assert all(delta.index == 0 and not delta.id and not delta.type for delta in rest)
    pieces = [delta.function.arguments or "" for delta in deltas if delta.function is not None]
    assert "city" in json.loads("".join(pieces))
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


class Answer(pydantic.BaseModel):
    """What `parse` is asked for: bounded, for a small model may write a free string without end."""

    city: Literal["Paris", "Rome", "Vienna"]
    certain: bool


def test_parse_gives_an_object(client: OpenAI) -> None:
    completion = client.chat.completions.parse(
        model="starter-chat",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        response_format=Answer,
        temperature=0,
    )
    assert isinstance(completion.choices[0].message.parsed, Answer)


def test_models_are_listed_and_found(client: OpenAI) -> None:
    listed = {model.id for model in client.models.list()}
    assert {"starter-chat", "gpt-3.5-turbo", "gpt-4o", "gpt-4o-mini"} <= listed
    assert client.models.retrieve("starter-chat").owned_by == "headgate"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("not/a/model")
    assert caught.value.code == "model_not_found"


def test_errors_arrive_as_the_sdks_own(client: OpenAI, starter_gate: RunningGate) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="starter-chat", messages=GREETING, temperature=3)
    assert (bad.value.param, bad.value.code) == ("temperature", "decimal_above_max_value")
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=GREETING)
    assert unknown.value.code == "model_not_found"
    stranger = OpenAI(base_url=f"{starter_gate.url}/v1", api_key="sk-wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.models.list()
    assert refused.value.code == "invalid_api_key"


def test_the_asynchronous_client(starter_gate: RunningGate) -> None:
    async def main() -> None:
        async with AsyncOpenAI(
            base_url=f"{starter_gate.url}/v1", api_key=starter_gate.key, max_retries=0
        ) as client:
            whole = await client.chat.completions.create(
                model="starter-chat", messages=GREETING, temperature=0
            )
            stream = await client.chat.completions.create(
                model="starter-chat", messages=GREETING, temperature=0, stream=True
            )
            chunks = [chunk async for chunk in _all(stream)]
            assert_stream_rules(chunks)
            assert _text(chunks) == whole.choices[0].message.content

    run(main())


async def _all(stream: AsyncIterator[ChatCompletionChunk]) -> AsyncIterator[ChatCompletionChunk]:
    async for chunk in stream:
        yield chunk


def _text(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def assert_stream_rules(chunks: list[ChatCompletionChunk], choices: int = 1) -> None:
    """The rules that every stream of chat keeps, whatever is said."""
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert all(chunk.object == "chat.completion.chunk" for chunk in chunks)
    for index in range(choices):
        own = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
        assert own[0].delta.role == "assistant"
        assert own[0].delta.content == ""
        assert all(choice.delta.role is None for choice in own[1:])
        assert [choice.finish_reason for choice in own if choice.finish_reason] == ["stop"]
        assert own[-1].finish_reason == "stop"
