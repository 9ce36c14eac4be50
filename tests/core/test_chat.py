"""The exact words for bad chat requests, rules that no schema says, and what stays open."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.core.body import open_body
from headgate.core.chat import ChatRequest, StreamOptions
from headgate.core.errors import ErrorDetail, InvalidField

HELLO = [{"role": "user", "content": "Hello!"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def request(**fields: object) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO} | fields


def message(**fields: object) -> dict[str, Any]:
    return request(messages=[*HELLO, fields])


def accepted(fields: object) -> ChatRequest:
    return open_body(json.dumps(fields).encode(), ChatRequest)[0]


def refused(fields: object) -> ErrorDetail:
    with pytest.raises(InvalidField) as caught:
        accepted(fields)
    return caught.value.detail()


# Request, param, code, message. Where OpenAI's own answer is on record, these are its words.
REFUSALS: list[tuple[dict[str, Any], str, str | None, str]] = [
    (
        {"messages": HELLO},
        "model",
        "missing_required_parameter",
        "Missing required parameter: 'model'.",
    ),
    (
        {"model": "m"},
        "messages",
        "missing_required_parameter",
        "Missing required parameter: 'messages'.",
    ),
    (
        request(messages=[]),
        "messages",
        "empty_array",
        (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead."
        ),
    ),
    (
        request(messages="ping"),
        "messages",
        "invalid_type",
        "Invalid type for 'messages': expected an array of objects, but got a string instead.",
    ),
    (
        request(messages=["ping"]),
        "messages[0]",
        "invalid_type",
        "Invalid type for 'messages[0]': expected an object, but got a string instead.",
    ),
    (
        message(content="ping"),
        "messages[1].role",
        "missing_required_parameter",
        "Missing required parameter: 'messages[1].role'.",
    ),
    (
        message(role="user", content=7),
        "messages[1].content",
        "invalid_type",
        (
            "Invalid type for 'messages[1].content': expected one of a string or array of objects, "
            "but got an integer instead."
        ),
    ),
    (
        message(role="user", content=[{"text": "x"}]),
        "messages[1].content[0].type",
        "missing_required_parameter",
        "Missing required parameter: 'messages[1].content[0].type'.",
    ),
    (
        message(
            role="user", content=[{"type": "text", "text": "x"}, {"type": "image_url", "image_url": "x"}]
        ),
        "messages[1].content[1].image_url",
        "invalid_type",
        "Invalid type for 'messages[1].content[1].image_url': expected an object, but got a string instead.",
    ),
    (
        message(role="user", content=[{"type": "image_url", "image_url": {"url": None}}]),
        "messages[1].content[0].image_url.url",
        "invalid_type",
        "Invalid type for 'messages[1].content[0].image_url.url': expected a string, but got null instead.",
    ),
    (
        message(role="user", content=[{"type": "image_url"}]),
        "messages[1].content[0].image_url",
        "missing_required_parameter",
        "Missing required parameter: 'messages[1].content[0].image_url'.",
    ),
    (
        message(role="tool", content="4"),
        "messages[1].tool_call_id",
        "missing_required_parameter",
        "Missing required parameter: 'messages[1].tool_call_id'.",
    ),
    (
        message(role="assistant", tool_calls=[CALL, {"id": "d", "type": "function"}]),
        "messages[1].tool_calls[1].function",
        "missing_required_parameter",
        "Missing required parameter: 'messages[1].tool_calls[1].function'.",
    ),
    (
        message(role="assistant", tool_calls=[CALL | {"function": {"name": "f", "arguments": {}}}]),
        "messages[1].tool_calls[0].function.arguments",
        "invalid_type",
        (
            "Invalid type for 'messages[1].tool_calls[0].function.arguments': expected a string, "
            "but got an object instead."
        ),
    ),
    (
        request(n="2"),
        "n",
        "invalid_type",
        "Invalid type for 'n': expected an integer, but got a string instead.",
    ),
    (
        request(n=130),
        "n",
        "integer_above_max_value",
        "Invalid 'n': integer above maximum value. Expected a value <= 128, but got 130 instead.",
    ),
    (
        request(max_tokens=100.5),
        "max_tokens",
        "invalid_type",
        "Invalid type for 'max_tokens': expected an integer, but got a decimal number instead.",
    ),
    (
        request(max_completion_tokens=0),
        "max_completion_tokens",
        "integer_below_min_value",
        (
            "Invalid 'max_completion_tokens': integer below minimum value. "
            "Expected a value >= 1, but got 0 instead."
        ),
    ),
    (
        request(temperature="hot"),
        "temperature",
        "invalid_type",
        "Invalid type for 'temperature': expected a decimal, but got a string instead.",
    ),
    (
        request(temperature=2.5),
        "temperature",
        "decimal_above_max_value",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
    ),
    (
        request(stream="yes"),
        "stream",
        "invalid_type",
        "Invalid type for 'stream': expected a boolean, but got a string instead.",
    ),
    (
        request(stop=["a", "b", "c", "d", "e"]),
        "stop",
        "array_above_max_length",
        (
            "Invalid 'stop': array too long. Expected an array with maximum length 4, "
            "but got an array with length 5 instead."
        ),
    ),
    (
        request(stop=7),
        "stop",
        "invalid_type",
        "Invalid type for 'stop': expected one of a string or array of strings, but got an integer instead.",
    ),
    (
        request(seen=1.5),
        "seen",
        "invalid_type",
        "Invalid type for 'seen': expected an integer, but got a decimal number instead.",
    ),
    (
        request(tools="none"),
        "tools",
        "invalid_type",
        "Invalid type for 'tools': expected an array of objects, but got a string instead.",
    ),
    (
        request(tools=[TOOL] * 129),
        "tools",
        "array_above_max_length",
        (
            "Invalid 'tools': array too long. Expected an array with maximum length 128, "
            "but got an array with length 129 instead."
        ),
    ),
    (
        request(tools=[{"type": "function", "function": {"name": "f" * 74}}]),
        "tools[0].function.name",
        "string_above_max_length",
        (
            "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, "
            "but got a string with length 74 instead."
        ),
    ),
    (
        request(tools=[{"type": "function", "function": {"name": ""}}]),
        "tools[0].function.name",
        "empty_string",
        (
            "Invalid 'tools[0].function.name': empty string. Expected a string with minimum length 1, "
            "but got an empty string instead."
        ),
    ),
    (
        request(tools=[TOOL], tool_choice={"type": "function"}),
        "tool_choice.function",
        "missing_required_parameter",
        "Missing required parameter: 'tool_choice.function'.",
    ),
    (
        request(tool_choice="auto"),
        "tool_choice",
        None,
        "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
    ),
    (
        request(parallel_tool_calls=False),
        "parallel_tool_calls",
        None,
        (
            "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are "
            "specified."
        ),
    ),
    (
        request(function_call="auto"),
        "function_call",
        None,
        "Invalid value for 'function_call': 'function_call' is only allowed when 'functions' are specified.",
    ),
    (
        request(response_format="json"),
        "response_format",
        "invalid_type",
        "Invalid type for 'response_format': expected an object, but got a string instead.",
    ),
    (
        request(response_format={"type": "json_schema"}),
        "response_format.json_schema",
        "missing_required_parameter",
        "Missing required parameter: 'response_format.json_schema'.",
    ),
    (
        request(stream_options={"include_usage": True}),
        "stream_options",
        None,
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    ),
    (
        request(stream=False, stream_options={}),
        "stream_options",
        None,
        "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
    ),
    (
        request(top_logprobs=1),
        "top_logprobs",
        None,
        "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
    ),
    (
        request(max_tokens=1, max_completion_tokens=1),
        "max_tokens",
        "invalid_parameter_combination",
        "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
    ),
    (
        request(logit_bias={"1": 101}),
        "logit_bias.1",
        "integer_above_max_value",
        "Invalid 'logit_bias.1': integer above maximum value. Expected a value <= 100, but got 101 instead.",
    ),
    (
        request(logit_bias={"1": -100.5}),
        "logit_bias.1",
        "integer_below_min_value",
        (
            "Invalid 'logit_bias.1': integer below minimum value. Expected a value >= -100, "
            "but got -100.5 instead."
        ),
    ),
    (
        request(logit_bias={" You": 6}),
        "logit_bias",
        "invalid_value",
        "Invalid key in 'logit_bias':  You. You should only be submitting non-negative integers.",
    ),
    (
        request(logit_bias={"٣": 6}),
        "logit_bias",
        "invalid_value",
        "Invalid key in 'logit_bias': ٣. You should only be submitting non-negative integers.",
    ),
    (
        request(metadata={f"k{index}": "v" for index in range(17)}),
        "metadata",
        "object_above_max_properties",
        (
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
            "but got an object with 17 properties instead."
        ),
    ),
    (
        request(metadata={"k": 7}),
        "metadata.k",
        "invalid_type",
        "Invalid type for 'metadata.k': expected a string, but got an integer instead.",
    ),
    (
        request(metadata={"k": "x" * 600}),
        "metadata.k",
        "string_above_max_length",
        (
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512, "
            "but got a string with length 600 instead."
        ),
    ),
    (
        request(metadata={"k" * 70: "v"}),
        "metadata." + "k" * 61 + "...",
        "property_name_above_max_length",
        "Invalid property name in 'metadata': '" + "k" * 61 + "...' is too long. "
        "Expected a string with maximum length 64, but got a string with length 70 instead.",
    ),
]


@pytest.mark.parametrize(("fields", "param", "code", "words"), REFUSALS)
def test_a_refusal_says_what_openai_says(
    fields: dict[str, Any], param: str, code: str | None, words: str
) -> None:
    assert refused(fields) == ErrorDetail(words, "invalid_request_error", param, code)


@pytest.mark.parametrize(
    "fields",
    [
        message(role="oracle", content="vendors have more roles"),
        message(role="user", content=[{"type": "video_url", "video_url": {"url": "https://v"}}]),
        message(role="assistant", content=None, tool_calls=[CALL]),
        message(role="assistant", content="", tool_calls=[], reasoning_content="vendors add members"),
        message(role="user"),
        request(tools=[]),
        request(
            tools=[{"type": "web_search", "web_search": {"size": 3}}], tool_choice={"type": "web_search"}
        ),
        request(tools=[TOOL] * 128, tool_choice="sometimes", parallel_tool_calls=True),
        request(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "f"}}),
        request(functions=[{"name": "f" * 64}], function_call={"name": "f"}),
        request(reasoning_effort="astonishing", service_tier="gold", verbosity="mute", modalities=["smell"]),
        request(response_format={"type": "xml", "xml": {"root": "a"}}),
        request(stop="\n", temperature=2, top_p=0, presence_penalty=-2, frequency_penalty=2, n=128),
        request(stop=["a", "b", "c", "d"], temperature=0.0, max_tokens=1),
        request(stream=True, stream_options={"include_usage": True, "vendor": [1]}),
        request(stream=None, stream_options=None, logprobs=None, top_logprobs=None, tools=None, stop=None),
        request(logprobs=True, top_logprobs=20, logit_bias={"50256": -100, "0": 100.0}),
        request(metadata={f"{index:064}": "é" * 512 for index in range(16)}),
        request(seed=-(2**63), user="u", store=False, top_k=40, min_p=0.05, vendor={"deep": [None]}),
    ],
)
def test_what_vendors_extend_and_clients_send_is_taken(fields: dict[str, Any]) -> None:
    assert accepted(fields).model == "m"


def test_the_reference_page_s_own_sample_is_read() -> None:
    sample = """{
    "model": "gpt-3.5-turbo",
    "stream": true,
    "messages": [
        {
            "role": "system",
            "content": "You are a helpful assistant."
        },
        {
            "role": "user",
            "content": "Hello!"
        }
    ]
}"""
    read, _ = open_body(sample.encode(), ChatRequest)
    assert (read.model, read.stream) == ("gpt-3.5-turbo", True)
    assert [(each.role, each.content) for each in read.messages] == [
        ("system", "You are a helpful assistant."),
        ("user", "Hello!"),
    ]


def test_what_the_gate_asks_of_a_request_is_read() -> None:
    read = accepted(
        request(
            stream=True,
            stream_options={"include_usage": True},
            n=3,
            tools=[TOOL],
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}],
        )
    )
    assert read.stream_options == StreamOptions(include_usage=True)
    assert read.n == 3
    assert read.tools is not None
    assert read.tools[0].function is not None
    assert read.tools[0].function.name == "f"
    content = read.messages[0].content
    assert isinstance(content, list)
    assert content[0].image_url is not None
    assert content[0].image_url.url == "data:,"


def test_of_two_faults_one_is_told() -> None:
    assert refused(request(n=0, temperature=3)).param == "n"
    assert refused(request(temperature=3, n=0)).param == "temperature"
    # A field of the wrong type hides a rule about several fields.
    assert refused(request(top_logprobs=1, temperature=3)).param == "temperature"


def test_a_long_name_or_number_is_cut_in_the_reply() -> None:
    assert len(refused(request(logit_bias={"x" * 10_000: 1})).message) < 200
    assert len(refused(request(logit_bias={"1" * 10_000: "x"})).message) < 200
    assert len(refused(request(n=int("9" * 4_000))).message) < 200
