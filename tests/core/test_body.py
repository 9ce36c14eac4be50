"""Opening and splicing: untouched bytes survive, and what was checked is what goes out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.core.body import VALUES_LIMIT, Fields, open_body, splice, usage_options
from headgate.core.chat import ChatRequest
from headgate.core.errors import ApiError, BadRequest, InvalidField, TooLarge

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]'


class Anything(msgspec.Struct):
    """A request type without a field of its own."""


def opened(more: bytes = b"") -> tuple[ChatRequest, Fields]:
    """A good chat request with something added after its required fields."""
    return open_body(CHAT + more + b"}", ChatRequest)


def refused(body: bytes, request_type: type[msgspec.Struct] = ChatRequest) -> ApiError:
    with pytest.raises(ApiError) as caught:
        open_body(body, request_type)
    return caught.value


# --- JSON as clients may write it -----------------------------------------------------------------

SPACE = st.sampled_from(["", " ", "\n", "\t \r\n"])
# Strings as they may be written: escapes that nobody needs included; lone surrogates are no text.
STRINGS = st.text(st.characters(codec="utf-8"), max_size=8).flatmap(
    lambda text: st.sampled_from([json.dumps(text), json.dumps(text, ensure_ascii=False), escaped(text)])
)
NUMBERS = st.sampled_from(
    ["0", "-0", "1.50", "1e3", "2E-7", "-12", "123456789012345678901234567890", "1e999"]
)
SCALARS = st.one_of(STRINGS, NUMBERS, st.sampled_from(["true", "false", "null"]))


def escaped(text: str) -> str:
    """A string literal in which every character is an escape."""
    units = text.encode("utf-16-be")
    return '"' + "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)) + '"'


def array(items: list[str], space: str) -> str:
    return "[" + space + f"{space},".join(items) + space + "]"


def members(pairs: list[tuple[str, str]], space: str) -> str:
    return "{" + space + f",{space}".join(f"{name}{space}:{space}{value}" for name, value in pairs) + "}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(array, st.lists(inner, max_size=3), SPACE),
        st.builds(members, st.lists(st.tuples(STRINGS, inner), max_size=3), SPACE),
    ),
    max_leaves=8,
)
PAIRS = st.lists(st.tuples(STRINGS, VALUES), max_size=5)


def last_values(pairs: list[tuple[str, str]]) -> dict[str, str]:
    return {json.loads(name): value for name, value in pairs}


@settings(deadline=None)
@given(PAIRS, SPACE)
def test_every_value_survives_byte_for_byte(pairs: list[tuple[str, str]], space: str) -> None:
    body = members(pairs, space).encode()
    _, fields = open_body(body, Anything)
    expected = last_values(pairs)
    assert {name: bytes(value).decode() for name, value in fields.items()} == expected
    out = splice(fields)
    assert json.loads(out) == json.loads(body)
    # Written out by hand: the names in order, each once, and the values as they came.
    assert out.decode() == "{" + ",".join(f"{quoted(name)}:{value}" for name, value in expected.items()) + "}"


def quoted(name: str) -> str:
    return msgspec.json.encode(name).decode()


@settings(deadline=None)
@given(PAIRS, SPACE, st.text(st.characters(codec="utf-8"), max_size=4), VALUES)
def test_a_change_replaces_one_value_and_no_other(
    pairs: list[tuple[str, str]], space: str, name: str, value: str
) -> None:
    _, fields = open_body(members(pairs, space).encode(), Anything)
    before = {each: bytes(raw) for each, raw in fields.items()}
    out = splice(fields, **{name: msgspec.Raw(value.encode())})
    _, after = open_body(out, Anything)
    assert {each: bytes(raw) for each, raw in after.items()} == before | {name: value.encode()}
    assert {each: bytes(raw) for each, raw in fields.items()} == before, "the fields themselves stay"


@settings(deadline=None)
@given(PAIRS, SPACE, st.data())
def test_none_takes_a_field_out(pairs: list[tuple[str, str]], space: str, data: st.DataObject) -> None:
    _, fields = open_body(members(pairs, space).encode(), Anything)
    names = data.draw(st.sets(st.sampled_from(sorted(fields) or ["absent"])))
    out = splice(fields, **dict.fromkeys(names))
    assert json.loads(out).keys() == fields.keys() - names


def test_a_change_may_be_any_value() -> None:
    _, fields = opened(b',"top_k" : 40')
    out = splice(fields, model="ü", n=2, stop=["a"], vendor={"a": msgspec.Raw(b"[1.0]")}, messages=None)
    assert out == '{"model":"ü","top_k":40,"n":2,"stop":["a"],"vendor":{"a":[1.0]}}'.encode()


# --- what was checked is what goes out ------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b","messages":[{"role":"user"}]}',
        b'{"mo\\u0064el":"a","messages":[{"role":"user"}],"model":"b"}',
        b'{"model":"a","messages":[{"role":"user"}],"\\u006dodel":"b"}',
        b'{"model":"a","messages":[{"role":"user"}],"model":"a","\\u006d\\u006f\\u0064\\u0065\\u006c":"b"}',
    ],
)
def test_a_name_given_twice_goes_out_once_with_the_value_that_was_read(body: bytes) -> None:
    request, fields = open_body(body, ChatRequest)
    assert request.model == "b"
    out = splice(fields, n=1)
    assert out.count(b'"model"') == 1
    assert b"\\u" not in out
    assert json.loads(out)["model"] == "b"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["model", "stream", "n", "user"]), max_size=6), st.data())
def test_duplicates_are_read_and_sent_alike(names: list[str], data: st.DataObject) -> None:
    pairs = [
        (data.draw(st.sampled_from([quoted(name), escaped(name)])), data.draw(GOOD_VALUES[name]))
        for name in ["model", "messages", *names]
    ]
    request, fields = open_body(members(pairs, "").encode(), ChatRequest)
    out = splice(fields)
    sent = json.loads(out, object_pairs_hook=no_duplicates)
    assert (request.model, request.stream, request.n, request.user) == (
        sent["model"],
        sent.get("stream"),
        sent.get("n"),
        sent.get("user"),
    )
    assert open_body(out, ChatRequest)[0] == request


GOOD_VALUES = {
    "model": st.sampled_from(['"a"', '"b"', '"\\u0061"']),
    "messages": st.just('[{"role":"user"}]'),
    "stream": st.sampled_from(["true", "false", "null"]),
    "n": st.sampled_from(["1", "2"]),
    "user": STRINGS,
}


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_a_name_that_was_wrong_once_is_refused_even_if_given_again() -> None:
    error = refused(CHAT + b',"n":"x","n":1}')
    assert (error.status, error.param, error.code) == (400, "n", "invalid_value")


def test_seen_is_taken_for_seed() -> None:
    request, fields = opened(b',"seen": 5')
    assert request.seed == 5
    assert splice(fields) == CHAT + b',"seed":5}'


@pytest.mark.parametrize(
    ("given_fields", "seed", "sent"),
    [
        (b',"seen":5,"seed":6', 6, b',"seed":6}'),
        (b',"seed":6,"seen":5', 6, b',"seed":6}'),
        (b',"seed":0,"seen":5', 0, b',"seed":0}'),
        (b',"seed":null,"seen":5', 5, b',"seed":5}'),
        (b',"seed":6,"seen":null', 6, b',"seed":6}'),
        (b',"s\\u0065en":5', 5, b',"seed":5}'),
        (b',"seen":null', None, b"}"),
    ],
)
def test_seed_goes_before_seen(given_fields: bytes, seed: int | None, sent: bytes) -> None:
    request, fields = opened(given_fields)
    assert request.seed == seed
    assert splice(fields) == CHAT + sent


# --- usage, asked for on the client's behalf ------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (b"", b'{"include_usage":true}'),
        (b',"stream_options":null', b'{"include_usage":true}'),
        (b',"stream_options":{}', b'{"include_usage":true}'),
        (b',"stream_options": {"include_usage" : false}', b'{"include_usage":true}'),
        (
            b',"stream_options":{"include_obfuscation":false,"vendor":[1.0, "\\u0041"]}',
            b'{"include_obfuscation":false,"vendor":[1.0, "\\u0041"],"include_usage":true}',
        ),
        # The one that is read and the one that goes out are the same, whichever the upstream would believe.
        (
            b',"stream_options":{"include_usage":true,"include_us\\u0061ge":false}',
            b'{"include_usage":true}',
        ),
        (
            b',"stream_options":{"vendor":0},"stream_options":{"include_usage":false,"vendor":1}',
            b'{"include_usage":true,"vendor":1}',
        ),
    ],
)
def test_usage_is_asked_for_and_the_client_s_other_options_stay(options: bytes, sent: bytes) -> None:
    _, fields = opened(b',"stream":true' + options)
    out = splice(fields, stream_options=usage_options(fields))
    assert out == CHAT + b',"stream":true,"stream_options":' + sent + b"}"


# --- what is not a request ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"hello",
        b"model=m&messages=hi",
        b"\xef\xbb\xbf" + CHAT + b"}",
        (CHAT + b"}").decode().encode("utf-16"),
        CHAT + b'}{"model":"m"}',
        CHAT + b"}x",
        CHAT + b",}",
        CHAT + b',"top_k":}',
        CHAT + b',"top_k":NaN}',
        CHAT + b',"temperature":Infinity}',
        CHAT + b',"temperature":-Infinity}',
        CHAT + b',"top_k":01}',
        CHAT + b",\"top_k\":'a'}",
        CHAT + b',"vendor":"\xff"}',
        CHAT + b',"vendor":"\xed\xa0\x80"}',
        CHAT + b',"\xff":1}',
        CHAT + b',"user":"\xc3\x28"}',
        CHAT + b',"user":"\\ud800"}',
        CHAT + b',"\\udc00":1}',
        CHAT + b',"user":"line\nbreak"}',
        # What is wrong besides goes unsaid until it is JSON.
        CHAT + b',"n":"x","vendor":"\xff"}',
        CHAT + b',"n":"x"',
        CHAT + b',"stream_options":{}}x',
        CHAT + b',"stream_options":{},"vendor":"\xff"}',
        CHAT + b',"metadata":{"k":"\\ud800"}}',
    ],
)
def test_what_is_not_json_is_told_so(body: bytes) -> None:
    error = refused(body)
    assert type(error) is BadRequest
    assert error.message.startswith("We could not parse the JSON body of your request.")
    assert (error.status, error.type, error.param, error.code) == (400, "invalid_request_error", None, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[]", "an array"),
        (b' "x"', "a string"),
        (b"null", "null"),
        (b"7", "an integer"),
        (b"true", "a boolean"),
    ],
)
def test_json_that_is_no_object_is_told_so(body: bytes, kind: str) -> None:
    error = refused(body)
    assert error.message == f"Invalid type for the request body: expected an object, but got {kind} instead."
    assert (error.status, error.param, error.code) == (400, None, "invalid_type")


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
@pytest.mark.parametrize("before", [b',"vendor":', b',"stream_options":{},"vendor":', b',"n":"x","vendor":'])
def test_json_that_goes_too_deep_is_refused(opening: bytes, before: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    error = refused(CHAT + before + opening * 100_000 + b"1" + closing * 100_000 + b"}")
    assert (error.status, error.param) == (400, None)
    assert error.message == "The JSON body of your request is nested too deeply."


def test_a_body_may_not_unfold_to_more_values_than_are_allowed() -> None:
    at_the_limit = CHAT + b',"vendor":[1' + b",1" * (VALUES_LIMIT - CHAT.count(b",") - 1) + b"]}"
    assert at_the_limit.count(b",") == VALUES_LIMIT
    open_body(at_the_limit, ChatRequest)
    error = refused(at_the_limit[:-2] + b",1]}")
    assert isinstance(error, TooLarge)
    assert error.status == 413


def test_a_large_picture_is_not_many_values() -> None:
    picture = b"iVBORw0KGgo" * 200_000
    body = b'{"model":"m","messages":[{"role":"user","content":"data:image/png;base64,' + picture + b'"}]}'
    assert len(body) > VALUES_LIMIT
    request, fields = open_body(body, ChatRequest)
    content = request.messages[0].content
    assert isinstance(content, str)
    assert content.endswith(picture.decode())
    assert splice(fields) == body


# --- anything at all ------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [quoted(name) for name in ChatRequest.__struct_fields__]
    + ['"role"', '"content"', '"type"', '"image_url"', '"url"', '"function"', '"name"', '"x"']
)
REQUESTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.builds(array, st.lists(inner, max_size=3), SPACE),
        st.builds(members, st.lists(st.tuples(NAMES, inner), max_size=4), SPACE),
    ),
    max_leaves=24,
)


def outcome(body: bytes) -> tuple[ChatRequest, Fields] | BadRequest:
    try:
        return open_body(body, ChatRequest)
    except BadRequest as error:
        return error


def check(body: bytes) -> None:
    """Whatever comes is taken, or refused in OpenAI's shape; what is taken goes out as it was read."""
    found = outcome(body)
    if isinstance(found, BadRequest):
        reply = json.loads(found.body())["error"]
        assert reply.keys() == {"message", "type", "param", "code"}
        assert isinstance(found, InvalidField) == (reply["param"] is not None)
        return
    request, fields = found
    again, _ = open_body(splice(fields), ChatRequest)
    request.seen = None
    assert again == request


@settings(max_examples=500, deadline=None)
@given(REQUESTS)
@example('{"model":"m","messages":[{"role":"user"}],"logit_bias":{"1":1e999}}')
@example('{"model":"m","messages":[{"role":"user"}],"metadata":{"a":"b"},"seen":1}')
def test_any_json_is_taken_or_refused(body: str) -> None:
    check(body.encode())


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, REQUESTS), max_size=4), SPACE)
def test_any_field_beside_the_required_ones_is_taken_or_refused(
    pairs: list[tuple[str, str]], space: str
) -> None:
    required = [('"model"', '"m"'), ('"messages"', '[{"role":"user","content":"hi"}]')]
    check(members([*required, *pairs], space).encode())


FULL = json.dumps(
    {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:,", "detail": "low"}}],
            },
            {"role": "tool", "content": "é\U0001f600", "tool_call_id": "c"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"1": -1.5},
        "metadata": {"k": "v"},
        "stop": ["a"],
        "temperature": 1.5,
        "seen": 3,
    },
    ensure_ascii=False,
).encode()


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(FULL) - 1), st.integers(0, 12), st.binary(max_size=4))
def test_any_bytes_are_taken_or_refused(at: int, cut: int, paste: bytes) -> None:
    check(FULL[:at] + paste + FULL[at + cut :])
