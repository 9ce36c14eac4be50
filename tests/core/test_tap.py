"""However a stream is cut, the tap sees the same in it: its quick look and its close look agree."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.core import tap as tap_module
from headgate.core.errors import UpstreamFailed
from headgate.core.estimate import estimate_tokens
from headgate.core.sse import EventSplitter
from headgate.core.tap import KEPT_BYTES, StreamTap, partial_usage, said_tokens, tail_usage, whole_usage
from headgate.core.usage import Source, Usage

Chunk = dict[str, Any]


class SlowReader:
    """What a tap should see: every event decoded with the standard library, one after the other."""

    def __init__(self, withhold_usage: bool) -> None:
        self.withhold_usage = withhold_usage
        self.passed = b""
        self.usage: Usage | None = None
        self.error: bytes | None = None
        self.done = False
        self.malformed = 0
        self.said = ""
        self.finish_reasons = 0
        self.usage_chunk = False

    def read(self, event: bytes) -> None:
        if self.done or self.error is not None:
            return
        lines = [line[5:].lstrip() for line in event.decode().split("\n") if line.startswith("data:")]
        data = "\n".join(lines)
        if not lines and all(line[:1] in (b"", b":", b"e", b"r") for line in event.split(b"\n")):
            self.passed += event
        elif data == "[DONE]":
            self.done = True
        else:
            try:
                chunk = json.loads(data)
                assert isinstance(chunk, dict)
            except (ValueError, AssertionError):
                self.malformed += 1
                return
            if chunk.get("error") is not None:
                self.error = data.encode()
            elif not self.take_usage(chunk):
                self.passed += event
                self.listen(chunk)

    def take_usage(self, chunk: Chunk) -> bool:
        """Whether the event is kept from the client."""
        usage = chunk.get("usage")
        if usage is None:
            return False
        self.usage = Usage(
            Source.REPORTED,
            usage.get("prompt_tokens") or 0,
            (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
            usage.get("completion_tokens") or 0,
            (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        )
        if chunk.get("choices"):
            return False
        self.usage_chunk = True
        return self.withhold_usage

    def listen(self, chunk: Chunk) -> None:
        for choice in chunk.get("choices") or []:
            delta = choice["delta"]
            self.said += delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                self.said += "".join(call["function"].values())
            self.finish_reasons += choice.get("finish_reason") is not None


# --- streams ----------------------------------------------------------------------------------------

tricky_text = st.sampled_from(
    [
        '"usage": {"prompt_tokens": 9}',
        '"error": {"message": "no"}',
        "error",
        "usage",
        "data: [DONE]",
        "\n\n",
        "}\n\n",
        'data: {"error": 1}\n\n',
        "{",
        "}",
        '"',
        "\\",
        '\\"',
        "null",
        '"finish_reason":"stop"',
        "水渠",
        "🌊",
        "\u2028",
    ]
)
text = st.one_of(tricky_text, st.text(st.characters(codec="utf-8"), max_size=12), st.just("The end."))
count = st.integers(0, 10_000)
usage_objects = st.fixed_dictionaries(
    {"prompt_tokens": count, "completion_tokens": count},
    optional={
        "total_tokens": count,
        "prompt_tokens_details": st.none() | st.fixed_dictionaries({}, optional={"cached_tokens": count}),
        "completion_tokens_details": st.none()
        | st.fixed_dictionaries({"reasoning_tokens": st.none() | count}),
    },
)
functions = st.fixed_dictionaries({"arguments": text}, optional={"name": text})
tool_calls = st.fixed_dictionaries({"index": st.integers(0, 3), "function": functions})
deltas: st.SearchStrategy[Chunk] = st.one_of(
    st.fixed_dictionaries({"content": text}),
    st.fixed_dictionaries({"role": st.just("assistant"), "content": st.just("") | st.none()}),
    st.just({}),
    st.fixed_dictionaries({"tool_calls": st.lists(tool_calls, max_size=2)}),
)
choices = st.fixed_dictionaries(
    {"index": st.integers(0, 2), "delta": deltas}, optional={"finish_reason": st.none() | st.just("stop")}
)
plain_chunks = st.fixed_dictionaries(
    {"id": st.just("chatcmpl-1"), "choices": st.lists(choices, min_size=1, max_size=2)},
    optional={"usage": st.none(), "error": st.none(), "model": text},
)
usage_chunks = st.fixed_dictionaries({"choices": st.just([]), "usage": usage_objects})
cumulative_chunks = st.fixed_dictionaries({"choices": st.lists(choices, min_size=1), "usage": usage_objects})
error_chunks = st.fixed_dictionaries({"error": st.one_of(text, st.fixed_dictionaries({"message": text}))})


@st.composite
def json_events(draw: st.DrawFn, chunk: st.SearchStrategy[Chunk]) -> bytes:
    data = json.dumps(
        draw(chunk),
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])),
    )
    return draw(
        st.sampled_from(["data: ", "data: ", "data: ", "data:", "event: message\ndata: "])
    ).encode() + (data.encode() + b"\n\n")


plain_events = json_events(plain_chunks)
comments = st.sampled_from([b": PROCESSING\n\n", b":\n\n", b"event: ping\n\n", b"retry: 10\n\n"])
malformed_events = st.sampled_from(
    [
        b'data: {"id":"chatcmpl-1","cho\n\n',
        b"data: \n\n",
        b"data: hello\n\n",
        b"data: 12\n\n",
        b"data: null\n\n",
        b"data: []\n\n",
        b'data: "error"\n\n',
        b'data: {"usage":{"prompt_tokens":3\n\n',
        b"<html>\n<body>\n\n",
        b"dataset: {}\n\n",
        b": a comment\nand more\n\n",
        b'data: x"error"\n\n',
    ]
)
done_events = st.sampled_from([b"data: [DONE]\n\n", b"data:[DONE]\n\n"])
any_events = st.one_of(
    plain_events, plain_events, plain_events, comments, malformed_events,
    json_events(usage_chunks), json_events(cumulative_chunks), json_events(error_chunks), done_events,
)  # fmt: skip
places = st.lists(st.integers(0), max_size=12)


def watch(tap: StreamTap, stream: bytes, cuts: list[int]) -> bytes:
    """Feeds a stream as the relay does, cut anywhere; what the client sees of it."""
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    splitter, passed = EventSplitter(), b""
    for start, end in pairwise(edges):
        block = splitter.feed(stream[start:end])
        if block and not tap.done and tap.error is None:
            passed += tap.scan(block)
    return passed


@given(st.lists(any_events, max_size=12), places, st.booleans(), st.sampled_from([b"\n", b"\r\n"]))
@example([b'data: {"choices":[{"index":0,"delta":{}}]}\n\n', b'data: {"error":{}}\n\n'], [], True, b"\n")
@example(
    [b'data: {"choices": [], "usage": {"prompt_tokens": 1}}\n\n', b'data: {"choices":[],"usage":{}}\n\n'],
    [],
    True,
    b"\n",
)
def test_any_cut_of_any_stream(stream: list[bytes], cuts: list[int], withhold: bool, end: bytes) -> None:
    slow = SlowReader(withhold)
    for event in stream:
        slow.read(event)
    tap = StreamTap(withhold_usage=withhold, prompt_bytes=400)
    passed = watch(tap, b"".join(stream).replace(b"\n", end), cuts)
    assert passed.replace(end, b"\n") == slow.passed
    assert tap.usage == slow.usage
    assert tap.done == slow.done
    assert tap.malformed == slow.malformed
    assert (tap.error is None) == (slow.error is None)
    if tap.error is not None and slow.error is not None:
        assert tap.error == slow.error
    assert tap.finished == (slow.usage_chunk or slow.finish_reasons >= 1)
    counted = tap.counted(complete=True)
    if slow.usage is not None:
        assert counted == slow.usage
    else:
        assert counted == Usage(Source.ESTIMATED, 100, 0, estimate_tokens(slow.said))
        partial = tap.counted(complete=False)
        assert partial == msgspec.structs.replace(counted, source=Source.PARTIAL)


@given(st.lists(plain_events, min_size=1, max_size=12), places)
def test_plain_events_pass_as_they_are(stream: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(stream)
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    assert watch(tap, whole, cuts) == whole
    assert tap.usage is None


def test_the_quick_look_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain events are not decoded, in blocks of one and of many."""
    looked = []
    look = StreamTap._look

    def looking(tap: StreamTap, event: bytes) -> bytes:
        looked.append(event)
        return look(tap, event)

    monkeypatch.setattr(StreamTap, "_look", looking)
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n'
    for block in (chunk, chunk * 100):
        tap = StreamTap(withhold_usage=True, prompt_bytes=0)
        assert tap.scan(block) == block
        assert looked == []
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    assert tap.scan(chunk * 3 + usage + b"data: [DONE]\n\n") == chunk * 3
    assert looked == [usage, b"data: [DONE]\n\n"]


# --- usage ------------------------------------------------------------------------------------------


def chunk_of(**members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


CONTENT = chunk_of(choices=[{"index": 0, "delta": {"content": "Hello"}}])


def test_usage_asked_for_on_the_clients_behalf_is_withheld() -> None:
    reported = chunk_of(choices=[], usage={"prompt_tokens": 5, "completion_tokens": 1})
    for withhold, seen in ((True, b""), (False, reported)):
        tap = StreamTap(withhold_usage=withhold, prompt_bytes=0)
        assert tap.scan(CONTENT + reported) == CONTENT + seen
        assert tap.counted(complete=True) == Usage(Source.REPORTED, 5, 0, 1)


def test_usage_beside_content_is_shown_whoever_asked() -> None:
    both = chunk_of(choices=[{"index": 0, "delta": {}}], usage={"prompt_tokens": 5, "completion_tokens": 1})
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    assert tap.scan(both) == both
    assert tap.usage == Usage(Source.REPORTED, 5, 0, 1)


def test_the_last_usage_counts() -> None:
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    for said in (1, 2, 3):
        tap.scan(
            chunk_of(
                choices=[{"index": 0, "delta": {}}], usage={"prompt_tokens": 9, "completion_tokens": said}
            )
        )
    tap.scan(chunk_of(choices=[{"index": 0, "delta": {}}], usage=None))
    assert tap.counted(complete=False) == Usage(Source.REPORTED, 9, 0, 3)


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 7.0, "completion_tokens": 2.0},
        {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": "none"},
        {"prompt_tokens": 7, "completion_tokens": 2, "completion_tokens_details": [0]},
    ],
)
def test_usage_in_odd_types_is_counted_and_withheld_all_the_same(usage: Chunk) -> None:
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    assert tap.scan(chunk_of(choices=[], usage=usage)) == b""
    assert tap.counted(complete=True) == Usage(Source.REPORTED, 7, 0, 2)
    assert tap.finished


def test_an_odd_chunk_passes_and_is_counted() -> None:
    odd = chunk_of(choices={"0": {"delta": {"content": "Hello"}, "finish_reason": "stop"}}, usage={})
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    assert tap.scan(odd) == odd
    assert tap.finished
    assert tap.malformed == 0


def test_an_error_in_an_odd_chunk_is_an_error() -> None:
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    assert tap.scan(CONTENT + chunk_of(choices="none", error={"message": "out of memory"})) == CONTENT
    assert tap.error is not None


# --- the end ----------------------------------------------------------------------------------------


@given(places)
def test_every_choice_has_to_finish(cuts: list[int]) -> None:
    first = chunk_of(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    second = chunk_of(choices=[{"index": 1, "delta": {}, "finish_reason": "length"}])
    more = chunk_of(
        choices=[{"index": 1, "delta": {"content": '"finish_reason":"stop"'}, "finish_reason": None}]
    )
    for stream, finished in (
        (first + more, False),
        (first + more + second, True),
        (first + second + more, True),
    ):
        tap = StreamTap(withhold_usage=True, prompt_bytes=0, choices=2)
        watch(tap, stream, cuts)
        assert tap.finished == finished
        assert tap.finished == finished, "asking changes nothing"


def test_cumulative_usage_is_not_the_end() -> None:
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    tap.scan(chunk_of(choices=[{"index": 0, "delta": {"content": "a"}}], usage={"prompt_tokens": 1}))
    assert not tap.finished
    tap.scan(chunk_of(choices=[], usage={"prompt_tokens": 1}))
    assert tap.finished


def test_nothing_counts_after_the_end() -> None:
    tap = StreamTap(withhold_usage=False, prompt_bytes=0)
    late = chunk_of(choices=[], usage={"prompt_tokens": 5})
    assert tap.scan(CONTENT + b"data: [DONE]\n\n" + late + chunk_of(error={})) == CONTENT
    assert tap.done
    assert tap.usage is None
    assert tap.error is None


# --- estimates --------------------------------------------------------------------------------------


def test_memory_is_bounded_and_the_estimate_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tap = StreamTap(withhold_usage=True, prompt_bytes=0)
    words = "The headgate opens, and the water flows down. "
    piece = chunk_of(choices=[{"index": 0, "delta": {"content": words}}])
    for _ in range(4000):
        tap.scan(piece)
        assert tap._kept_bytes <= KEPT_BYTES
        assert sum(map(len, tap._kept)) == tap._kept_bytes
    assert tap.counted(complete=True).output_tokens == pytest.approx(estimate_tokens(words * 4000), rel=0.01)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b'{"content":"Hello world"}', "Hello world"),
        (b'{"content" : "Hello"} {"content":" world"}', "Hello world"),
        (b'{"content":"a \\"quoted\\" word \\\\"}', 'a "quoted" word \\'),
        (b'{"content":"\\u6c34\\n\\u6e20"}', "水\n渠"),
        ('{"content":"水渠"}'.encode(), "水渠"),
        (b'{"reasoning_content":"hmm","refusal":"no","name":"f","arguments":"{}","text":"t"}', "hmmnof{}t"),
        (b'{"role":"assistant","id":"content","content":null}', ""),
        (b'{"content":"never ends', ""),
        (b'{"content":"broken \\u12"}', "broken \\u12"),
        (b'{"content":"not utf-8 \xff"}', "not utf-8 \ufffd"),
        (b"", ""),
    ],
)
def test_what_the_model_said_is_found_without_decoding(raw: bytes, said: str) -> None:
    assert said_tokens(raw) == estimate_tokens(said)


@given(st.text(max_size=40), st.booleans())
def test_any_text_is_found_in_its_event(said: str, ascii_only: bool) -> None:
    said = said.encode(errors="replace").decode()
    raw = json.dumps({"delta": {"role": "assistant", "content": said}}, ensure_ascii=ascii_only).encode()
    assert said_tokens(raw) == estimate_tokens(said)


# --- whole replies ----------------------------------------------------------------------------------


def reply(**members: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": "Hello world"}}], **members}).encode()


def test_whole_usage_is_what_was_reported() -> None:
    body = reply(
        usage={"prompt_tokens": 11, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    )
    assert whole_usage(body, 400) == Usage(Source.REPORTED, 11, 3, 2)


@pytest.mark.parametrize("members", [{}, {"usage": None}, {"usage": "much"}, {"usage": [1]}, {"error": None}])
def test_whole_usage_is_estimated_where_none_was_reported(members: Chunk) -> None:
    assert whole_usage(reply(**members), 400) == Usage(Source.ESTIMATED, 100, 0, 2)


def test_whole_usage_in_odd_types_is_counted() -> None:
    body = reply(usage={"prompt_tokens": 7.0, "completion_tokens": 2})
    assert whole_usage(body, 400) == Usage(Source.REPORTED, 7, 0, 2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'"text"',
        b"null",
        b'{"usage":',
        b'{"usage":{}',
        b"{}{}",
        b'{"a":' * 5000,
        b"\x1f\x8b\x08",
    ],
)
def test_what_is_no_json_object_is_no_reply(body: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError, RecursionError)):
        whole_usage(body, 400)


@pytest.mark.parametrize("error", [{"message": "key sk-secret is wrong"}, "no", 1])
@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 1.0}])
def test_an_error_with_status_200_is_an_error(error: object, usage: Chunk) -> None:
    with pytest.raises(UpstreamFailed) as raised:
        whole_usage(json.dumps({"error": error, "usage": usage}).encode(), 400)
    assert "secret" not in str(raised.value)


@given(usage_objects, st.integers(0, 2000), st.sampled_from([None, 1]), st.booleans())
def test_usage_is_found_in_the_tail_of_a_large_reply(
    usage: Chunk, kept: int, indent: int | None, last: bool
) -> None:
    content = 'He said: "usage": {"prompt_tokens": 1} and "usage":{"x":2}}' * 20
    members = {"choices": [{"message": {"content": content}}], "usage": usage}
    if not last:
        members |= {"system_fingerprint": "fp_{1}", "timings": {"a": {"b": 1}}}
    body = json.dumps(members, indent=indent).encode()
    start = min(body.rindex(b'"usage"'), max(0, len(body) - kept))
    assert tail_usage(body[start:], 4000, 400) == whole_usage(body, 400)


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        b"}}}}",
        b'"usage":',
        b'"usage": null}',
        b'"usage":{"prompt_tokens":',
        b'"usage":{' + b'"a":{},' * 100 + b"}",
    ],
)
def test_a_tail_without_usage_is_estimated_by_its_size(tail: bytes) -> None:
    assert tail_usage(tail, 4000, 400) == Usage(Source.ESTIMATED, 100, 0, 1000)


def test_a_tail_made_to_burn_time_does_not() -> None:
    decoded = 0

    def count_decodes(raw: bytes) -> None:
        nonlocal decoded
        decoded += 1
        raise msgspec.DecodeError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tap_module, "odd_usage", count_decodes)
        tail_usage(b'"usage":{' * 3000 + b"}" * 5000, 0, 0)
    assert decoded <= tap_module.USAGE_TRIES * tap_module.USAGE_BRACES


def test_a_client_that_left_at_once_has_used_its_prompt() -> None:
    assert partial_usage(400) == Usage(Source.PARTIAL, 100)
