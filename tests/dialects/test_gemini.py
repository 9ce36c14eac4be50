"""Gemini's dialect where the cases do not go: refusals, errors, odd streams, what holds of any request."""

from __future__ import annotations

import json
from base64 import b64encode
from itertools import pairwise
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from headgate.core.endpoint import Endpoint
from headgate.core.errors import ApiError, InvalidField, NotFound, UpstreamFailed
from headgate.core.sse import DONE, event, events
from headgate.dialects.gemini import Gemini
from headgate.dialects.gemini_reply import ReplyPlan
from headgate.dialects.gemini_stream import Reply
from headgate.dialects.table import make_dialect
from tests.dialects.calls import chat_call
from tests.dialects.gemini_types import accepted
from tests.dialects.test_gemini_cases import chunks_of

Json = dict[str, Any]
USER = {"role": "user", "content": "hi"}
ASKED = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
TOOLS = [{"type": "function", "function": {"name": "f"}}]
PLAN = ReplyPlan(1, "gemini-3.5-flash")


def sent(body: Json, model: str = "gemini-3.5-flash", **options: Any) -> Json:
    return msgspec.json.decode(Gemini(**options).request(chat_call(body, model)).body, type=Json)


def refused(body: Json, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        Gemini(**options).request(chat_call(body))
    assert caught.value.status == 400
    return caught.value


# --- requests -------------------------------------------------------------------------------------


def test_the_types_that_requests_are_held_to_know_what_is_wrong() -> None:
    accepted(ASKED)
    for wrong in (
        {**ASKED, "stream": True},
        {"contents": [{"role": "user", "parts": [{"text": "hi", "type": "text"}]}]},
        {**ASKED, "generationConfig": {"max_tokens": 1}},
        {**ASKED, "toolConfig": {"functionCallingConfig": {"modes": "ANY"}}},
    ):
        with pytest.raises(pydantic.ValidationError):
            accepted(wrong)


@pytest.mark.parametrize(
    "given_",
    [
        {"seed": 2**31},
        {"logit_bias": {"1": 5}},
        {"verbosity": "low"},
        {"service_tier": "scale"},
        {"web_search_options": {}},
        {"moderation": {"model": "m"}},
        {"audio": {"voice": "v", "format": "mp3"}},
        {"parallel_tool_calls": False, "tools": TOOLS},
    ],
    ids=lambda given_: next(iter(given_)),
)
def test_what_does_not_exist_there_is_refused_or_dropped(given_: Json) -> None:
    name = next(iter(given_))
    error = refused(given_)
    assert (error.param, error.code) == (name, "unsupported_parameter")
    dropping = Gemini(drop_unsupported=True).request(chat_call(given_))
    assert dropping.dropped == (name,)
    body = msgspec.json.decode(dropping.body, type=Json)
    body.pop("tools", None)
    assert body == ASKED


def test_values_that_change_nothing_are_no_loss() -> None:
    nothing = {
        "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "logprobs": False,
        "verbosity": "medium", "service_tier": "auto", "modalities": ["text"], "stop": "",
        "response_format": {"type": "text"}, "stream": False, "metadata": {}, "tools": [],
        "prediction": None, "x_own": None, "generationConfig": None,
    }  # fmt: skip
    outgoing = Gemini().request(chat_call(nothing))
    assert outgoing.dropped == ()
    assert msgspec.json.decode(outgoing.body) == ASKED


def message(**fields: Any) -> Json:
    return {"messages": [USER, {"role": "user", **fields}]}


def picture(url: str) -> Json:
    return message(content=[{"type": "image_url", "image_url": {"url": url}}])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"n": 9}, "n"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages"),
        (message(role="narrator", content="x"), "messages[1].role"),
        (message(role="tool", content="x", tool_call_id="gone"), "messages[1].tool_call_id"),
        (message(role="assistant", extra_content=7), "messages"),
        (picture("http://example.com/a.png"), "messages[1].content[0].image_url.url"),
        (picture("data:text/html;base64,AA=="), "messages[1].content[0].image_url.url"),
        (picture("file:///etc/passwd"), "messages[1].content[0].image_url.url"),
        (message(content=[{"type": "file", "file": {"file_id": "file-1"}}]),
         "messages[1].content[0].file.file_id"),
        (message(content=[{"type": "file", "file": {"file_data": "AA=="}}]),
         "messages[1].content[0].file.file_data"),
        (message(role="system", content=[
            {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]),
         "messages[1].content[0].type"),
        (message(role="assistant", tool_calls=[{"id": "a", "type": "function",
                 "function": {"name": "f", "arguments": "[1]"}}]),
         "messages[1].tool_calls[0].function.arguments"),
        (message(role="assistant", tool_calls=[{"id": "a", "type": "custom",
                 "custom": {"name": "f", "input": ""}}]),
         "messages[1].tool_calls[0].type"),
        (message(role="assistant", function_call={"name": "f", "arguments": "{"}),
         "messages[1].function_call.arguments"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": TOOLS, "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "never", "tools": []}}}, "tool_choice.allowed_tools.mode"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [{"function": 1}]}}}, "tool_choice.allowed_tools.tools"),
        ({"functions": [{"name": "f"}], "function_call": {"name": "g"}}, "function_call"),
        ({"functions": [{"name": "f"}], "function_call": "required"}, "function_call"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"generationConfig": 7}, "generationConfig"),
        ({"toolConfig": []}, "toolConfig"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_by_name(body: Json, param: str) -> None:
    for drop in (False, True):
        error = refused(body, drop_unsupported=drop)
        assert isinstance(error, InvalidField)
        assert error.param == param


def test_another_endpoint_is_not_served() -> None:
    call = chat_call({})
    call.request = msgspec.defstruct("Other", [])()
    call.endpoint = Endpoint(name="x", method="POST", path="/v1/x", scope="x", summary="x")
    with pytest.raises(NotFound, match="/v1/x"):
        Gemini().request(call)


def test_a_models_name_leads_nowhere_else() -> None:
    for name, path in {
        "gemini-3.5-flash": "/models/gemini-3.5-flash:generateContent",
        "tunedModels/mine": "/tunedModels/mine:generateContent",
        "a b?c#d:e%é": "/models/a%20b%3Fc%23d%3Ae%25%C3%A9:generateContent",
    }.items():
        assert Gemini().request(chat_call({}, name)).path == path
    for name in ("../files", "models/..", "/x", "a//b", "."):
        with pytest.raises(InvalidField):
            Gemini().request(chat_call({}, name))


def test_models_before_3_think_by_budget_and_need_no_signature() -> None:
    called = {
        "reasoning_effort": "high",
        "messages": [
            USER,
            {"role": "assistant", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": " "}}]},
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ],
    }  # fmt: skip
    for model in ("gemini-2.5-pro", "models/gemini-2.0-flash", "gemini-1.5-flash"):
        body = sent(called, model)
        assert body["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 24_576
        assert "thoughtSignature" not in body["contents"][1]["parts"][0]
    for model in ("gemini-3-pro-preview", "gemini-flash-latest", "gemini-20-pro"):
        body = sent(called, model)
        assert body["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "HIGH"
        assert body["contents"][1]["parts"][0]["thoughtSignature"] == "skip_thought_signature_validator"


def test_an_id_used_twice_means_the_call_before() -> None:
    def called(name: str) -> Json:
        function = {"name": name, "arguments": "{}"}
        return {"role": "assistant", "tool_calls": [{"id": "0", "type": "function", "function": function}]}

    result = {"role": "tool", "tool_call_id": "0", "content": "x"}
    contents = sent({"messages": [USER, called("f"), result, called("g"), result]})["contents"]
    assert [turn["parts"][0]["functionResponse"]["name"] for turn in contents[2::2]] == ["f", "g"]
    # A client that tells the name itself is believed where the call is not there any more.
    lone = sent({"messages": [USER, {**result, "name": "h"}]})["contents"][0]["parts"][0]
    assert lone["functionResponse"] == {"name": "h", "response": {"output": "x"}, "id": "0"}


def test_the_table_makes_it() -> None:
    dialect = make_dialect("gemini", drop_unsupported=True)
    assert isinstance(dialect, Gemini)
    assert dialect.request(chat_call({"logit_bias": {"1": 1}})).dropped == ("logit_bias",)
    assert dialect.credentials("k") == ((b"x-goog-api-key", b"k"),)


# --- errors ---------------------------------------------------------------------------------------


def google_error(status: int, name: str, words: str, *details: Json) -> bytes:
    error: Json = {"code": status, "message": words, "status": name}
    if details:
        error["details"] = list(details)
    return json.dumps({"error": error}).encode()


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.0741s"}
QUOTA = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaMetric": "x/generate_content_input_token_count", "quotaId": "PerProject"}],
}


@pytest.mark.parametrize(
    ("status", "name", "words", "told", "code"),
    [
        (400, "INVALID_ARGUMENT", "Invalid value at 'contents'", 400, None),
        (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", 502, "upstream_error"),
        (400, "FAILED_PRECONDITION", "User location is not supported.", 502, "upstream_error"),
        (400, "INVALID_ARGUMENT",
         "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
         400, "context_length_exceeded"),
        (403, "PERMISSION_DENIED", "Consumer 'project:17' has been suspended.", 502, "upstream_error"),
        (404, "NOT_FOUND", "models/gemini-0 is not found for API version v1beta", 404, "model_not_found"),
        (404, "NOT_FOUND", "Requested entity was not found.", 502, "upstream_error"),
        (429, "RESOURCE_EXHAUSTED", "Quota exceeded for project 17", 429, "rate_limit_exceeded"),
        (500, "INTERNAL", "An internal error has occurred.", 502, "upstream_error"),
        (503, "UNAVAILABLE", "The model is overloaded.", 503, "upstream_unavailable"),
        (504, "DEADLINE_EXCEEDED", "Deadline expired.", 504, "upstream_timeout"),
    ],
)  # fmt: skip
def test_an_error_reply(status: int, name: str, words: str, told: int, code: str | None) -> None:
    for wrap in (b"%b", b"[%b]"):
        error = Gemini().error(status, (), wrap % google_error(status, name, words))
        assert (error.status, error.code) == (told, code)
        assert "17" not in error.message


def test_when_to_come_back() -> None:
    error = Gemini().error(429, (), google_error(429, "RESOURCE_EXHAUSTED", "x", QUOTA, RETRY))
    assert error.retry_after_ms == 34_075
    assert error.detail().type == "tokens"
    by_header = Gemini().error(429, ((b"retry-after", b"7"),), b"<html>")
    assert by_header.retry_after_ms == 7000
    assert by_header.detail().type == "requests"
    unavailable = Gemini().error(503, (), google_error(503, "UNAVAILABLE", "x", RETRY))
    assert unavailable.retry_after_ms == 34_075
    for odd in ("soon", "-1s", "1e9s", ""):
        wrong = google_error(429, "RESOURCE_EXHAUSTED", "x", {"retryDelay": odd})
        assert Gemini().error(429, (), wrong).retry_after_ms is None


# --- replies --------------------------------------------------------------------------------------


def streamed(*replies: Json) -> bytes:
    reply = Reply(PLAN)
    made = [reply.event(event(json.dumps(given_).encode())) for given_ in replies]
    return b"".join([*made, reply.end()])


def candidates(*parts: Json, finish: str | None = None) -> Json:
    found: Json = {"content": {"parts": list(parts), "role": "model"}}
    return {"candidates": [found | ({"finishReason": finish} if finish else {})]}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"usageMetadata": {"promptTokenCount": 3}},
        {"error": {"code": 503, "status": "UNAVAILABLE"}},
        {"promptFeedback": {"safetyRatings": []}},
        candidates(finish="MALFORMED_FUNCTION_CALL"),
        candidates({"text": ""}, finish="UNEXPECTED_TOOL_CALL"),
    ],
)
def test_no_answer_is_an_error(body: Json) -> None:
    with pytest.raises(UpstreamFailed):
        Reply(PLAN).whole(json.dumps(body).encode())
    made = streamed(body)
    assert DONE not in made
    assert b'finish_reason":"' not in made


def test_what_was_said_before_the_model_failed_is_kept() -> None:
    body = candidates({"text": "so far"}, finish="MALFORMED_FUNCTION_CALL")
    choice = json.loads(Reply(PLAN).whole(json.dumps(body).encode()))["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("so far", "stop")
    assert streamed(body).endswith(DONE)


def test_events_that_mean_nothing_become_nothing() -> None:
    reply = Reply(PLAN)
    assert reply.event(b": ping\n\n") == b": ping\n\n"
    for odd in (b"", b"hello", b"[]", b"{", b'{"candidates":7}', b"\xff", b"[" * 100_000):
        assert reply.event(event(odd)) == b""
    assert reply.end() == b""
    assert reply.event(b"event: x\n\n") == b""


def test_a_finish_that_comes_early_loses_nothing() -> None:
    """Older models say STOP in every event."""
    made = streamed(
        candidates({"text": "a"}, finish="STOP"),
        candidates({"functionCall": {"name": "f", "args": {}}}, finish="STOP"),
        candidates({"text": "b"}, finish="STOP"),
    )
    found = [chunk["choices"][0] for chunk in chunks_of(made)]
    assert [c["finish_reason"] for c in found if c["finish_reason"]] == ["tool_calls"]
    assert "".join(c["delta"].get("content", "") for c in found) == "ab"


def test_a_choice_that_never_ended_is_a_stream_broken_off() -> None:
    made = streamed({"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1}]})
    assert b'finish_reason":"' not in made


def test_a_reply_without_an_id_gets_one_and_so_do_its_calls() -> None:
    body = candidates({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}, finish="STOP")
    made = json.loads(Reply(PLAN).whole(json.dumps(body).encode()))
    other = json.loads(Reply(PLAN).whole(json.dumps({**body, "x": 1}).encode()))
    assert made["id"] != other["id"]
    calls = made["choices"][0]["message"]["tool_calls"] + other["choices"][0]["message"]["tool_calls"]
    assert len({call["id"] for call in calls}) == 4
    assert made["model"] == "gemini-3.5-flash"


def test_counts_are_running_totals_of_which_the_last_counts() -> None:
    first = {**candidates({"text": "a"}), "usageMetadata": {
        "promptTokenCount": 5, "cachedContentTokenCount": 4, "thoughtsTokenCount": 2}}  # fmt: skip
    last = {**candidates(finish="STOP"), "usageMetadata": {
        "promptTokenCount": 6, "candidatesTokenCount": 9, "thoughtsTokenCount": 3}}  # fmt: skip
    assert list(chunks_of(streamed(first, last)))[-1]["usage"] == {
        "prompt_tokens": 6,
        "completion_tokens": 12,
        "total_tokens": 18,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


# --- what holds of any ----------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAMES = st.sampled_from(["f", "g", "look_up"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(TEXT, VALUES, max_size=3)
SIGNATURES = st.none() | st.binary(min_size=3, max_size=9).map(lambda data: b64encode(data).decode())


@st.composite
def answers(draw: st.DrawFn) -> list[Json]:
    """The parts of a model's answer: thoughts, words, calls; the first call may be signed."""
    parts: list[Json] = [{"text": text, "thought": True} for text in draw(st.lists(TEXT, max_size=2))]
    parts += [{"text": text} for text in draw(st.lists(TEXT, max_size=3))]
    for place, name in enumerate(draw(st.lists(NAMES, max_size=3))):
        part: Json = {"functionCall": {"name": name, "args": draw(ARGUMENTS), "id": f"c{place}"}}
        if place == 0 and (signature := draw(SIGNATURES)) is not None:
            part["thoughtSignature"] = signature
        parts.append(part)
    return parts


def accumulated(stream: bytes) -> Json:
    """What a client makes of the deltas."""
    made: Json = {"content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in chunks_of(stream):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                made[name] += delta.get(name, "")
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(made["tool_calls"]):
                    made["tool_calls"].append({key: call[key] for key in call if key != "index"})
                else:
                    called = made["tool_calls"][call["index"]]["function"]
                    called["arguments"] += call["function"]["arguments"]
    return made


@given(answers(), st.data())
def test_an_answer_comes_back_as_it_went(parts: list[Json], data: st.DataObject) -> None:
    """Whole and streamed are the same message; sent back as history, it is the same turn."""
    body = json.dumps({**candidates(*parts, finish="STOP"), "responseId": "r"}).encode()
    completion = json.loads(Reply(PLAN).whole(body))
    ChatCompletion.model_validate(completion, strict=True)
    whole = completion["choices"][0]["message"]

    cut = data.draw(st.integers(0, len(parts)))
    pieces = [candidates(*parts[:cut]), candidates(*parts[cut:], finish="STOP")]
    made = accumulated(streamed(*({**piece, "responseId": "r"} for piece in pieces)))
    assert made["content"] == (whole["content"] or "")
    assert made["reasoning_content"] == whole.get("reasoning_content", "")
    assert made["tool_calls"] == whole.get("tool_calls", [])

    said = [part for part in parts if not part.get("thought")]
    contents = sent({"messages": [USER, whole]}, "gemini-2.5-flash")["contents"]
    accepted({"contents": contents})
    back = contents[1]["parts"] if len(contents) > 1 else []
    assert "".join(p.get("text", "") for p in back) == "".join(p.get("text", "") for p in said)
    assert [p for p in back if "functionCall" in p] == [p for p in said if "functionCall" in p]


@st.composite
def requests(draw: st.DrawFn) -> Json:
    """A conversation with calls and results, and parameters that both formats have."""
    messages: list[Json] = [{"role": "user", "content": draw(TEXT)}]
    for turn in range(draw(st.integers(0, 3))):
        role = draw(st.sampled_from(["system", "developer", "user", "assistant", "calls"]))
        if role != "calls":
            messages.append({"role": role, "content": draw(TEXT)})
            continue
        names = draw(st.lists(NAMES, min_size=1, max_size=3))
        calls = [
            {"id": f"{turn}-{place}", "type": "function",
             "function": {"name": name, "arguments": json.dumps(draw(ARGUMENTS))}}
            for place, name in enumerate(names)
        ]  # fmt: skip
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": draw(TEXT | ARGUMENTS.map(json.dumps))}
            for call in draw(st.permutations(calls))
        ]
    body: Json = {"messages": messages}
    for name, values in {
        "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "seed": st.integers(0, 2**31 - 1),
        "max_tokens": st.integers(1, 10**6), "n": st.integers(2, 8), "top_logprobs": st.integers(1, 20),
        "stop": st.lists(TEXT, min_size=1, max_size=4), "presence_penalty": st.floats(0.1, 2),
        "frequency_penalty": st.floats(-2, -0.1),
    }.items():  # fmt: skip
        if draw(st.booleans()):
            body[name] = draw(values)
    if "top_logprobs" in body:
        body["logprobs"] = True
    return body


SAME = {
    "temperature": "temperature", "top_p": "topP", "seed": "seed", "max_tokens": "maxOutputTokens",
    "n": "candidateCount", "stop": "stopSequences", "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty", "logprobs": "responseLogprobs", "top_logprobs": "logprobs",
}  # fmt: skip


@given(requests())
def test_every_field_that_both_formats_have_is_kept(body: Json) -> None:
    made = sent(body)
    accepted(made)
    config = made.get("generationConfig", {})
    assert {ours: config[theirs] for ours, theirs in SAME.items() if theirs in config} == {
        name: value for name, value in body.items() if name in SAME
    }
    roles = [turn["role"] for turn in made["contents"]]
    assert all(one != other for one, other in pairwise(roles))

    parts = [part for turn in made["contents"] for part in turn["parts"]]
    system = [part["text"] for part in made.get("systemInstruction", {}).get("parts", ())]
    told = body["messages"]
    assert system == [m["content"] for m in told if m["role"] in ("system", "developer")]
    words = [p["text"] for p in parts if "text" in p]
    assert sorted(words) == sorted(
        m["content"] for m in told if m["role"] in ("user", "assistant") and m["content"]
    )
    calls = [call for m in told for call in m.get("tool_calls", ())]
    assert [p["functionCall"] for p in parts if "functionCall" in p] == [
        {"id": c["id"], "name": c["function"]["name"], "args": json.loads(c["function"]["arguments"])}
        for c in calls
    ]
    names = {call["id"]: call["function"]["name"] for call in calls}
    results = [p["functionResponse"] for p in parts if "functionResponse" in p]
    assert [(r["id"], r["name"]) for r in results] == [
        (m["tool_call_id"], names[m["tool_call_id"]]) for m in told if m["role"] == "tool"
    ]
    for result, m in zip(results, [m for m in told if m["role"] == "tool"], strict=True):
        assert result["response"] in ({"output": m["content"]}, json_or_none(m["content"]))


def json_or_none(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def test_a_stream_is_cut_into_events_by_either_line_end() -> None:
    block = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}\r\n\r\n'
    reply = Reply(PLAN)
    made = b"".join([reply.event(found) for found in events(block)]) + reply.end()
    assert b'"content":"a"' in made
    assert made.endswith(DONE)
