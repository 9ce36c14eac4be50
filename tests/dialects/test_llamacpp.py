"""Requests in llama.cpp's dialect, field by field, and its errors."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.cut import WholeBodyNeeded
from headgate.core.errors import ApiError, BadRequest, InvalidField, Overloaded, UpstreamFailed
from headgate.core.seeing import PicturesWanted
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.llamacpp_reply import Opening, Reply
from tests.dialects.calls import chat_call
from tests.dialects.schemas import NONSENSE

Body = dict[str, Any]
USER = {"role": "user", "content": "hi"}
WEATHER = {
    "name": "get_weather",
    "description": "Get the weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "now"}}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def sent(body: Body, dialect: LlamaCpp | None = None) -> Body:
    outgoing = (dialect or LlamaCpp()).request(chat_call(body))
    assert outgoing.path == "/chat/completions"
    return msgspec.json.decode(outgoing.body, type=Body)


def refused(body: Body, dialect: LlamaCpp | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        (dialect or LlamaCpp()).request(chat_call(body))
    assert caught.value.status == 400
    return caught.value


# --- sampling -------------------------------------------------------------------------------------


def test_only_named_fields_pass() -> None:
    dangerous = {
        "grammar": "root ::= root",
        "json_schema": {},
        "lora": [{"id": 0}],
        "id_slot": 0,
        "cache_prompt": False,
        "samplers": ["x"],
        "n_probs": 500,
        "return_tokens": True,
        "n_predict": -1,
        "ignore_eos": True,
        "verbose": True,
        "repeat_last_n": 2**31 - 1,
        "dry_penalty_last_n": 2**31 - 1,
        "reasoning_format": "x",
        "timings_per_token": True,
        "response_fields": ["prompt"],
        "chat_format": 1,
        "chat_parser": "x",
        "generation_prompt": "x",
        "n_keep": 1,
        "preserved_tokens": ["x"],
        "grammar_triggers": [],
        "add_generation_prompt": False,
        "stream_options": None,
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "x_unknown": 1,
    }
    assert sent(dangerous) == {"model": "m", "messages": [USER]}
    harmless = {
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "logit_bias": {"5": -100},
        "top_k": 20,
        "min_p": 0.1,
        "typical_p": 0.9,
        "repeat_penalty": 1.1,
    }
    assert sent(harmless) == {"model": "m", "messages": [USER], **harmless}


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        (5, 5),
        (0, 0),
        (-1, 2**32 - 2),
        (2**32 - 1, 0),
        (2**63 - 1, (2**63 - 1) % (2**32 - 1)),
        (-(2**63), 2**31 - 1),
    ],
)
def test_a_seed_is_never_llama_cpp_s_word_for_none(given: int, becomes: int) -> None:
    assert sent({"seed": given})["seed"] == becomes != 2**32 - 1
    assert sent({"seen": given})["seed"] == becomes


def test_limits_of_tokens() -> None:
    assert sent({"max_tokens": 7})["max_tokens"] == 7
    assert sent({"max_completion_tokens": 7})["max_tokens"] == 7
    # It overflows there, and becomes a minus.
    assert sent({"max_tokens": 2**31})["max_tokens"] == 2**31 - 1
    assert "max_tokens" not in sent({})


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("top_k", -1, "decimal_below_min_value"),
        ("top_k", "5", "invalid_value"),
        ("min_p", 2, "decimal_above_max_value"),
        ("typical_p", [], "invalid_value"),
        ("repeat_penalty", 0, "decimal_below_min_value"),
        ("repeat_penalty", True, "invalid_value"),
    ],
)
def test_llama_cpp_s_own_numbers_have_ranges(field: str, value: Any, code: str) -> None:
    error = refused({field: value})
    assert (error.param, error.code) == (field, code)
    assert sent({field: None})[field] is None


def test_an_empty_stop_word_would_stop_at_once() -> None:
    assert sent({"stop": ""})["stop"] == []
    assert sent({"stop": ["", "a"]})["stop"] == ["a"]
    assert sent({"stop": "a"})["stop"] == ["a"]


def test_log_probabilities_are_asked_for_with_one_alternative_at_least() -> None:
    assert sent({"logprobs": True})["top_logprobs"] == 1
    assert sent({"logprobs": True, "top_logprobs": 5})["top_logprobs"] == 5
    assert "logprobs" not in sent({"logprobs": False})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}),
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none", "enable_thinking": False}),
        ({"chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}),
        ({"chat_template_kwargs": None}, None),
        ({}, None),
    ],
)
def test_what_the_template_is_told(body: Body, words: Body | None) -> None:
    assert sent(body).get("chat_template_kwargs") == words


def test_a_template_takes_plain_values() -> None:
    error = refused({"chat_template_kwargs": {"tools": [{"type": "function"}]}})
    assert error.param == "chat_template_kwargs"


# --- streams and several choices ------------------------------------------------------------------


def test_a_plain_whole_reply_needs_no_translation() -> None:
    assert LlamaCpp().request(chat_call({})).translator is None
    assert LlamaCpp().request(chat_call({"n": 1, "tools": TOOLS, "tool_choice": "none"})).translator is None


def test_a_plain_stream_needs_one_correction() -> None:
    outgoing = LlamaCpp().request(chat_call({"stream": True}))
    assert isinstance(outgoing.translator, Opening)
    assert msgspec.json.decode(outgoing.body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_are_always_streamed_from_there(stream: bool) -> None:
    outgoing = LlamaCpp().request(chat_call({"n": 2, "stream": stream}))
    body = msgspec.json.decode(outgoing.body)
    assert (body["n"], body["stream"], body["stream_options"]) == (2, True, {"include_usage": True})
    assert isinstance(outgoing.translator, Reply)


# --- response_format ------------------------------------------------------------------------------


def test_response_format() -> None:
    assert "response_format" not in sent({"response_format": {"type": "text"}})
    json_object = {"type": "json_object", "schema": {"type": "string", "pattern": "^(a{1,1000}){1,1000}$"}}
    assert sent({"response_format": json_object})["response_format"] == {"type": "json_object"}
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "description": "d"}}
    made = sent({"response_format": wanted})["response_format"]
    assert made == {
        "type": "json_schema",
        "json_schema": {
            "name": "n",
            "schema": {
                "type": "object",
                "properties": {"a": {"type": "string"}},
                "required": ["a"],
            },
        },
    }


def test_response_formats_that_cannot_be() -> None:
    assert refused({"response_format": {"type": "xml"}}).param == "response_format.type"
    schema = {"name": "n", "strict": True, "schema": {"type": "string", "pattern": "x"}}
    error = refused({"response_format": {"type": "json_schema", "json_schema": schema}})
    assert error.param == "response_format.json_schema.schema"
    error = refused(
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "x"}}}}
    )
    assert error.param == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"modalities": ["image"]}, "modalities"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": TOOLS, "logprobs": True, "stream": True}, "logprobs"),
        ({"tools": TOOLS, "logprobs": True, "n": 2}, "logprobs"),
    ],
)
def test_what_it_cannot_do(body: Body, param: str) -> None:
    assert refused(body).param == param


def test_text_alone_is_no_special_modality() -> None:
    assert sent({"modalities": ["text"]}) == {"model": "m", "messages": [USER]}


# --- tools ----------------------------------------------------------------------------------------

NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}
SAFE_TOOLS = [
    {"type": "function", "function": WEATHER},
    {"type": "function", "function": {"name": "now", "parameters": NOTHING}},
]


@pytest.mark.parametrize(
    "choice", [None, "auto", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS}}]
)
def test_a_free_choice_is_llama_cpp_s_own_matter(choice: Any) -> None:
    body = sent({"tools": TOOLS, "tool_choice": choice})
    assert body["tools"] == SAFE_TOOLS
    assert (body["tool_choice"], body["parallel_tool_calls"]) == ("auto", True)
    assert "grammar" not in body
    assert sent({"tools": TOOLS, "parallel_tool_calls": False})["parallel_tool_calls"] is False


def test_no_choice_is_no_tools() -> None:
    body: Body
    for body in (
        {"tools": TOOLS, "tool_choice": "none"},
        {"tools": []},
        {"functions": [WEATHER], "function_call": "none"},
    ):
        assert sent(body) == {"model": "m", "messages": [USER]}


@pytest.mark.parametrize(
    ("body", "names", "many"),
    [
        ({"tools": TOOLS, "tool_choice": "required"}, {"get_weather", "now"}, True),
        (
            {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
            {"get_weather", "now"},
            False,
        ),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "now"}}}, {"now"}, False),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": TOOLS[1:]},
                },
            },
            {"now"},
            True,
        ),
        ({"functions": [WEATHER], "function_call": {"name": "get_weather"}}, {"get_weather"}, False),
    ],
)
def test_a_forced_call_is_a_grammar(body: Body, names: set[str], many: bool) -> None:
    made = sent({**body, "stop": "}", "logprobs": True, "response_format": {"type": "json_object"}})
    for name in ("get_weather", "now"):
        assert (f'\\"{name}\\"' in made["grammar"]) is (name in names)
    assert ('root ::= call ("\\n" call)' in made["grammar"]) is many
    # It takes no grammar beside tools, so the template is told behind its back. Nothing may end the call.
    for name in ("tools", "tool_choice", "stop", "logprobs", "top_logprobs", "response_format"):
        assert name not in made
    told = made["chat_template_kwargs"]["tools"]
    assert {tool["function"]["name"] for tool in told} == names
    assert made["chat_template_kwargs"]["enable_thinking"] is False
    assert made["reasoning_format"] == "none"


IN_WORDS = LlamaCpp(tools_in_template=False)


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_template_without_tools_is_told_in_words(choice: str) -> None:
    body = sent({"tools": TOOLS, "tool_choice": choice}, IN_WORDS)
    assert "tools" not in body
    assert "tools" not in body.get("chat_template_kwargs", {})
    assert ("grammar" in body) is (choice == "required")
    system, user = body["messages"]
    assert (system["role"], user) == ("system", USER)
    assert json.dumps(WEATHER, separators=(",", ":")) in system["content"]
    assert "<tool_call>" in system["content"]


def test_words_are_added_to_a_system_message_that_is_there() -> None:
    for content in ("Be kind.", [{"type": "text", "text": "Be kind."}]):
        messages = [{"role": "system", "content": content}, USER]
        body = sent({"tools": TOOLS, "messages": messages}, IN_WORDS)
        assert [message["role"] for message in body["messages"]] == ["system", "user"]
        assert body["messages"][0]["content"].startswith("Be kind.\n\nYou may call functions.")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "custom", "custom": {"name": "x"}}}, "tool_choice.type"),
        (
            {
                "tools": TOOLS,
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": []}},
            },
            "tool_choice.allowed_tools.mode",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{}]}},
            },
            "tool_choice",
        ),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [*TOOLS, {"type": "retrieval"}]}, "tools[2].type"),
        ({"tools": [{"type": "function", "function": {"name": 'a"b'}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "string"}}}]},
            "tools[0].function.parameters",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "objekt"}}}]},
            "tools[0].function.parameters",
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {
                            "name": "a",
                            "strict": True,
                            "parameters": {"type": "object", "minProperties": 1},
                        },
                    }
                ]
            },
            "tools[0].function.parameters",
        ),
        ({"functions": [{"name": "a", "parameters": {"type": 5}}]}, "functions[0].parameters"),
        ({"functions": [WEATHER], "function_call": "required"}, "function_call"),
        ({"functions": [WEATHER], "function_call": {"name": "x"}}, "function_call"),
    ],
)
def test_offers_that_cannot_be(body: Body, param: str) -> None:
    assert refused(body).param == param


# --- messages -------------------------------------------------------------------------------------


def conversation(*messages: Body, dialect: LlamaCpp | None = None, **more: Any) -> list[Body]:
    return list(sent({"messages": list(messages), **more}, dialect)["messages"])


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_messages_are_written_anew() -> None:
    messages: list[Body] = [
        {"role": "developer", "content": "D", "x": 1},
        {"role": "user", "content": [{"type": "text", "text": "a", "x": 1}], "name": "n"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "audio": None},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "assistant", "content": "It is 42.", "reasoning_content": "hm"},
        {"role": "user", "content": None},
    ]
    assert conversation(*messages) == [
        {"role": "developer", "content": "D"},
        {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "n"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
        {"role": "assistant", "content": "It is 42.", "reasoning_content": "hm"},
        {"role": "user", "content": ""},
    ]


def test_a_name_given_twice_means_one_thing() -> None:
    """llama.cpp fetches addresses by itself: it must not see any content but the one that was checked."""
    evil = b'[{"type":"image_url","image_url":{"url":"http://127.0.0.1/x"}}]'
    for first, second in ((evil, b'"hi"'), (b'"hi"', b'[{"type":"text","text":"hi","type":"text"}]')):
        body = (
            b'{"model":"m","messages":[{"role":"user","content":' + first + b',"content":' + second + b"}]}"
        )
        assert b"127.0.0.1" not in LlamaCpp(images=True).request(chat_call(body)).body


def test_the_old_form_of_calls() -> None:
    function = {"name": "f", "arguments": "{}"}
    written = conversation(
        USER,
        {"role": "assistant", "content": None, "function_call": function},
        {"role": "function", "name": "f", "content": "42"},
    )
    assert written[1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "content": "42", "tool_call_id": "call_1", "name": "f"},
    ]


def test_calls_and_results_in_words() -> None:
    written = conversation(
        USER,
        {"role": "assistant", "content": "Wait.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        dialect=IN_WORDS,
    )
    assert written[1:] == [
        {
            "role": "assistant",
            "content": 'Wait.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
        },
        {"role": "user", "content": "<tool_response>\n42\n</tool_response>"},
    ]


def test_a_refusal_is_what_was_said() -> None:
    part = {"type": "refusal", "refusal": "No."}
    written = conversation(
        USER, {"role": "assistant", "content": [part]}, {"role": "assistant", "refusal": "Never."}
    )
    assert written[1:] == [
        {"role": "assistant", "content": [{"type": "text", "text": "No."}]},
        {"role": "assistant", "content": "Never."},
    ]


def test_no_arguments_are_empty_ones() -> None:
    empty = {**CALL, "function": {"name": "f", "arguments": ""}}
    assert conversation(USER, {"role": "assistant", "tool_calls": [empty]})[1]["tool_calls"][0][
        "function"
    ] == {
        "name": "f",
        "arguments": "{}",
    }


def picture(url: str, **more: Any) -> Body:
    return {
        "role": "user",
        "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": url, **more}}],
    }


def test_a_picture_for_a_model_with_eyes() -> None:
    (written,) = conversation(picture(PIXEL, detail="low"), dialect=LlamaCpp(images=True))
    assert written["content"][1] == {"type": "image_url", "image_url": {"url": PIXEL}}


@pytest.mark.parametrize(("abridged", "wish"), [(False, PicturesWanted), (True, WholeBodyNeeded)])
def test_pictures_have_to_be_at_hand(abridged: bool, wish: type[Exception]) -> None:
    call = chat_call({"messages": [picture(PIXEL)]})
    call.pictures_at_hand, call.abridged = False, abridged
    with pytest.raises(wish):
        LlamaCpp(images=True).request(call)
    with pytest.raises(InvalidField):
        LlamaCpp().request(call)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/x.png",
        "https://example.com/x.png",
        "file:///etc/passwd",
        "HTTP://a",
        "data:text/plain,a",
        "",
        "//a",
        " data:image/png;base64,aa",
    ],
)
def test_llama_cpp_never_sees_an_address(url: str) -> None:
    error = refused({"messages": [picture(url)]}, LlamaCpp(images=True))
    assert error.param == "messages[0].content[1].image_url.url"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (picture(PIXEL), "messages[1].content[1]"),
        ({"role": "narrator", "content": "x"}, "messages[1].role"),
        ({"role": "user", "content": [{"type": "video_url"}]}, "messages[1].content[0].type"),
        (
            {
                "role": "user",
                "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}],
            },
            "messages[1].content[0].type",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "x"}}]},
            "messages[1].content[0].type",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a"'}}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "5"}}]},
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}],
            },
            "messages[1].tool_calls[0].type",
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "["}},
            "messages[1].function_call.arguments",
        ),
    ],
)
def test_messages_that_it_cannot_read(message: Body, param: str) -> None:
    assert refused({"messages": [USER, message]}).param == param


def test_a_picture_in_the_system_message() -> None:
    message = {**picture(PIXEL), "role": "system"}
    assert refused({"messages": [message]}, LlamaCpp(images=True)).param == "messages[0].content[1]"


@given(
    schema=NONSENSE,
    where=st.sampled_from(["response_format", "tools", "functions", "template"]),
    strict=st.booleans(),
)
def test_nonsense_is_refused_and_breaks_nothing(schema: Any, where: str, strict: bool) -> None:
    function = {"name": "f", "parameters": schema, "strict": strict}
    bodies: dict[str, Body] = {
        "response_format": {
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
        },
        "tools": {"tools": [{"type": "function", "function": function}], "tool_choice": "required"},
        "functions": {"functions": [function], "function_call": {"name": "f"}},
        "template": {"chat_template_kwargs": schema},
    }
    try:
        sent(bodies[where])
    except ApiError as error:
        assert error.status == 400  # noqa: PT017 (most of it is refused, some is not)


# --- errors ---------------------------------------------------------------------------------------


def told(status: int, error: Body) -> ApiError:
    return LlamaCpp().error(status, [], json.dumps({"error": error}).encode())


def test_a_context_that_is_too_short() -> None:
    error = told(
        400,
        {
            "code": 400,
            "message": "request (9019 tokens) exceeds the available context size (4096 tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 9019,
            "n_ctx": 4096,
        },
    )
    assert isinstance(error, InvalidField)
    assert (error.code, error.param) == ("context_length_exceeded", "messages")
    assert "4096" in error.message
    assert "9019" in error.message


def test_a_field_out_of_range() -> None:
    error = told(400, {"code": 400, "message": "Field 'n': Value must be between 1 <= value <= 4, but got 5"})
    assert (error.code, error.param) == ("integer_above_max_value", "n")
    error = told(400, {"message": "Field 'n': Value must be between 1 <= value <= 4, but got 0"})
    assert (error.code, error.param) == ("integer_below_min_value", "n")
    error = told(
        400, {"message": "Field 'top_k': [json.exception.type_error.302] type must be number, but is string"}
    )
    assert (error.code, error.param) == ("invalid_value", "top_k")
    assert "json.exception" not in error.message


@pytest.mark.parametrize(
    ("status", "message", "kind", "param"),
    [
        (400, "Failed to initialize samplers: failed to parse grammar", BadRequest, None),
        (
            400,
            "Unable to generate parser for this template. \n---\nError: Jinja Exception: no such role\n",
            InvalidField,
            "messages",
        ),
        (
            500,
            "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            InvalidField,
            "messages",
        ),
        (400, "Failed to load image or audio file", InvalidField, "messages"),
        (400, "something else", BadRequest, None),
        (500, "got exception: Unexpected empty grammar stack", UpstreamFailed, None),
        (401, "Invalid API Key", UpstreamFailed, None),
        (501, "This server does not support it", UpstreamFailed, None),
        (503, "Loading model", Overloaded, None),
    ],
)
def test_errors(status: int, message: str, kind: type[ApiError], param: str | None) -> None:
    error = told(status, {"code": status, "message": message, "type": "x"})
    assert type(error) is kind
    assert error.param == param
    if kind is UpstreamFailed:
        assert message not in error.message
    if kind is Overloaded:
        assert error.retry_after_ms


def test_a_template_s_own_words_pass() -> None:
    error = told(400, {"message": "Unable ...\nError: Jinja Exception: roles must alternate\n at line 3"})
    assert error.message.endswith("roles must alternate")


@given(st.integers(400, 599), st.binary(max_size=200))
def test_no_error_body_can_break_it(status: int, body: bytes) -> None:
    assert 400 <= LlamaCpp().error(status, [], body).status < 600


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}]
    asked = sent({"messages": messages, "continue_final_message": True, "add_generation_prompt": False})
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert asked["messages"] == messages
    assert asked["chat_template_kwargs"] == {"enable_thinking": False}
    assert "continue_final_message" not in sent({"messages": messages, "continue_final_message": False})
