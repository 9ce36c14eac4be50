"""Streams cut anywhere give the same events; what an event says is held against a second, plain reader."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.core import sse
from headgate.core.sse import (
    DONE,
    LARGE_EVENT_BYTES,
    MAX_EVENT_BYTES,
    EventSplitter,
    LargeEventSplitter,
    comment,
    event,
    events,
    has_data,
    payload,
)

LINE_ENDS = (b"\n", b"\r\n", b"\r")


def read_by_the_standard(stream: bytes) -> list[bytes]:
    """The data of each dispatched event: the standard's own steps, line by line, in no hurry."""
    lines, line, at = [], bytearray(), 0
    while at < len(stream):
        if stream[at] in b"\r\n":
            at += 2 if stream[at : at + 2] == b"\r\n" else 1
            lines.append(bytes(line))
            line.clear()
        else:
            line.append(stream[at])
            at += 1
    dispatched, data = [], b""
    for whole in lines:
        if not whole:
            if data:
                dispatched.append(data[:-1])
            data = b""
        field, _, value = whole.partition(b":")
        if field == b"data":
            data += value.removeprefix(b" ") + b"\n"
    return dispatched


def data_of(blocks: list[bytes]) -> list[bytes]:
    """What our reader finds in blocks of whole events."""
    found = [payload(one) for block in blocks for one in events(block)]
    return [data for data in found if data is not None]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """The stream in pieces, none of them empty."""
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(edges)]


def fed(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """The blocks that came out, and the tail that waits."""
    splitter = EventSplitter()
    blocks = [block for piece in pieces if (block := splitter.feed(piece))]
    return blocks, splitter.tail


line_text = st.one_of(
    st.sampled_from([b"data: {}", b"data:x", b"data:  two", b"data", b": comment", b":", b"event: a"]),
    st.binary(max_size=8).map(lambda raw: raw.replace(b"\n", b"").replace(b"\r", b"")),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Lines with any ends, many of them blank, of one kind or mixed, the last one perhaps unfinished."""
    ends = st.sampled_from(draw(st.sampled_from([(end,) for end in LINE_ENDS] + [LINE_ENDS])))
    lines = draw(st.lists(st.one_of(line_text, st.just(b"")), max_size=12))
    return b"".join(line + draw(ends) for line in lines) + draw(st.one_of(st.just(b""), line_text))


cuts = st.lists(st.integers(min_value=0), max_size=8)


@given(streams(), cuts)
@example(b"data: a\r\ndata: b\r\n\r\n", [])
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [9, 10, 11])
@example(b"data: a\r\rdata: b\r\r\n", [8, 9])
@example(b"data: a\rdata: b\n\n", [])
@example(b"data: a\n\r\n", [8, 9])
def test_any_cut_gives_the_events_of_the_standard(stream: bytes, places: list[int]) -> None:
    blocks, tail = fed(cut(stream, places))
    assert b"".join(blocks) + tail == stream
    if not stream.endswith(b"\r"):  # which may be half of a CR LF, and waits
        assert data_of(blocks) == read_by_the_standard(stream)
    more, _ = fed([*cut(stream, places), b"x"])
    assert data_of(more) == read_by_the_standard(stream)


@given(streams(), cuts)
def test_blocks_end_where_events_end(stream: bytes, places: list[int]) -> None:
    blocks, _ = fed(cut(stream, places))
    for at in range(1, len(blocks) + 1):
        so_far = b"".join(blocks[:at])
        # An event of our own, put between two blocks, is read as such, and takes nothing from its neighbours.
        assert read_by_the_standard(so_far + event(b"ours")) == [*read_by_the_standard(so_far), b"ours"]


def test_no_line_end_is_cut_in_half() -> None:
    """There are clients that see no boundary in CR LF CR: for them, an event goes out with its last byte."""
    stream = b"data: 1\r\n\r\ndata: 2\r\n\r\n"
    for place in range(1, len(stream)):
        blocks, tail = fed([stream[:place], stream[place:]])
        assert all(block.endswith(b"\r\n\r\n") for block in blocks)
        assert tail == b""


@given(streams())
def test_single_events_are_the_block(stream: bytes) -> None:
    blocks, _ = fed([stream])
    for block in blocks:
        singles = list(events(block))
        assert b"".join(singles) == block
        assert all(singles)
        assert data_of(singles) == data_of([block])


def test_what_is_complete_goes_out_at_once() -> None:
    for end in (b"\n\n", b"\r\n\r\n", b"\n\r\n"):
        splitter = EventSplitter()
        two = b"data: 1" + end + b"data: 2" + end
        assert splitter.feed(two + b"data: 3") == two
        assert splitter.tail == b"data: 3"
        assert splitter.feed(end) == b"data: 3" + end
        assert splitter.tail == b""


def test_lines_of_one_event_stay_together_whatever_their_ends() -> None:
    for end in LINE_ENDS:
        splitter = EventSplitter()
        assert splitter.feed(b"event: a" + end + b"data: 1" + end) == b""
        assert splitter.feed(b"data: 2" + end) == b""
        block = splitter.feed(end + b":")
        assert block == end.join([b"event: a", b"data: 1", b"data: 2", b"", b""])
        assert list(events(block)) == [block]
        assert payload(block) == b"1\n2"


def pass_on(splitter: EventSplitter, piece: bytes) -> bytes:
    """What a relay sends for one piece, as in `gateway.stream`."""
    out = splitter.feed(piece)
    if splitter.oversized:
        out += splitter.take_raw()
    return out


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("step", [65_536, 262_144, 5_000_000])
def test_an_event_over_the_cap_passes_raw_and_memory_stays_bounded(end: bytes, step: int) -> None:
    small = b'data: {"a":1}' + end
    large = b'data: {"image":"' + b"A" * (3 * MAX_EVENT_BYTES) + b'"}' + end
    stream = small + large + small + b":"
    splitter = EventSplitter()
    passed = b""
    for start in range(0, len(stream), step):
        passed += pass_on(splitter, stream[start : start + step])
        assert len(splitter.tail) <= MAX_EVENT_BYTES
    assert passed == stream[:-1]
    assert splitter.tail == b":"


def test_the_boundary_after_raw_bytes_is_seen_wherever_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 16)
    for end in (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"):
        large = b"data: " + b"x" * 40 + end
        for place in range(1, len(large)):
            splitter = EventSplitter()
            passed = pass_on(splitter, large[:place])
            passed += pass_on(splitter, large[place:])
            assert passed + splitter.tail == large, (end, place)
            assert end.endswith(b"\r") or splitter.tail == b""
            assert pass_on(splitter, b"data: y" + end + b":").endswith(b"data: y" + end)


@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\n\n", b"x"),
        (b"data:  x\n\n", b" x"),
        (b"data: x\r\n\r\n", b"x"),
        (b"data: x\r\r", b"x"),
        (b"data: x\r\n\n", b"x"),
        (b"data: x\r\r\n", b"x"),
        (b"data: x\rdata: y\n\n", b"x\ny"),
        (b"data: x\ndata: y\n\n", b"x\ny"),
        (b"data\ndata: y\n\n", b"\ny"),
        (b"data:\n\n", b""),
        (b"event: e\ndata: x\nid: 7\n\n", b"x"),
        (b"\n\ndata: x\n\n", b"x"),
        (b": data: x\n\n", None),
        (b":\n\n", None),
        (b"dataset: x\n\n", None),
        (b"event: data: x\n\n", None),
        (b"\n", None),
        (DONE, b"[DONE]"),
    ],
)
def test_payload(text: bytes, data: bytes | None) -> None:
    assert payload(text) == data


@given(st.text(alphabet=st.characters(exclude_characters="\n\r", codec="utf-8"), min_size=1))
def test_an_event_of_ours_is_read_back(text: str) -> None:
    data = text.encode()
    assert payload(event(data)) == data
    assert read_by_the_standard(event(data)) == [data]


def test_a_comment_is_no_event() -> None:
    assert comment(b"waiting") == b": waiting\n\n"
    assert payload(comment(b"waiting")) is None
    assert not has_data(comment() + b"event: ping\n\n" + comment(b"data: x"))
    assert has_data(comment() + event(b"x"))
    assert has_data(b"data: [DONE]")
    assert not has_data(b"")
    assert read_by_the_standard(comment() + comment(b"data: x")) == []


@given(
    st.lists(st.sampled_from([b"data: x", b"a" * 40, b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n"])), st.data()
)
def test_large_events_are_cut_as_others_are(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    large, usual = LargeEventSplitter(), EventSplitter()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        assert large.feed(stream[start:end]) == usual.feed(stream[start:end])
        assert large.tail == usual.tail
    assert large.take_raw() + large.tail == usual.take_raw() + usual.tail


def test_a_large_event_may_be_larger() -> None:
    splitter = LargeEventSplitter()
    piece = b"x" * 1_048_576
    assert splitter.feed(b"data: " + piece * 2) == b""
    assert _oversized(splitter) is False
    whole = splitter.feed(piece + b"\n\ndata")
    assert (len(whole), splitter.tail) == (3 * len(piece) + 8, b"data")
    while not _oversized(splitter):
        assert splitter.feed(piece) == b""
    assert len(splitter.tail) > LARGE_EVENT_BYTES


def _oversized(splitter: LargeEventSplitter) -> bool:
    # Asked through a function: a checker of types takes a property for what it was a line before.
    return splitter.oversized
