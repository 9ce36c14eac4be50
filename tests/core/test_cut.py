"""Long base64 leaves a body and comes back: what is made of the rest is what it would have been with it."""

from __future__ import annotations

import base64
import json
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core import cut
from headgate.core.body import Fields, open_body, splice
from headgate.core.chat import ChatRequest
from headgate.core.cut import KEPT_BYTES, QUANTUM, RUN_BYTES, TOKEN_BYTES, CutBody, Cutter
from headgate.core.errors import ApiError

TOKEN = b"0123456789abcdef" * (TOKEN_BYTES // 16)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def cut_up(body: bytes, *sizes: int) -> CutBody | bytes:
    """The body, fed in chunks of these sizes, over and over."""
    cutter = Cutter(TOKEN)
    at = turn = 0
    while at < len(body):
        size = sizes[turn % len(sizes)] if sizes else len(body)
        cutter.feed(body[at : at + size])
        at += size
        turn += 1
    return cutter.finish()


def certain(body: bytes, *sizes: int) -> CutBody:
    found = cut_up(body, *sizes)
    assert isinstance(found, CutBody)
    return found


def chat(content: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **more}).encode()


def picture(data: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def run_of(size: int, start: int = 0) -> str:
    return (ALPHABET[start:] + ALPHABET * (size // 64 + 2))[:size]


def fields_of(body: bytes) -> Fields:
    return open_body(body, ChatRequest)[1]


def plain(body: bytes) -> bytes | str:
    """What goes upstream without any cutting, or the error."""
    try:
        _, fields = open_body(body, ChatRequest)
    except ApiError as error:
        return error.body().decode()
    return splice(fields, model="there")


def by_cutting(body: bytes, *sizes: int) -> bytes | None:
    """What goes upstream with it; None where it is left to the plain way."""
    found = cut_up(body, *sizes)
    if not isinstance(found, CutBody):
        assert found == body
        return None
    assert len(found) == len(body)
    assert found.whole() == body
    try:
        _, fields = open_body(found.skeleton, ChatRequest)
    except ApiError:
        return None
    if not found.is_sound(fields):
        return None
    mended = found.mend(splice(fields, model="there"))
    assert mended is not None
    out = b"".join(mended.buffers)
    assert len(out) == len(mended)
    return out


# --- any body, in any chunks ------------------------------------------------------------------------

LONG = st.integers(RUN_BYTES - 3, RUN_BYTES * 3).flatmap(
    lambda size: st.integers(0, 63).map(lambda start: run_of(size, start))
)
# What may stand before and behind: escapes that take letters with them, other alphabets, ends of base64.
AROUND = st.sampled_from(
    ["", "data:image/png;base64,", "\\/", "\\n", "\\u00e4", "\\u00", "\\", "ä", "-", "=", "==", "===",
     "\\\"", " "]
)  # fmt: skip
STRINGS = st.builds(
    lambda pieces: '"' + "".join(pieces) + '"', st.lists(st.one_of(AROUND, LONG, st.just("abc")), max_size=5)
)
GOOD = st.builds(
    lambda before, run, behind: f'"{before}{run}{behind}"',
    st.sampled_from(["", "data:image/png;base64,", "data:;base64,", "\\/", "ä\\n", "words "]),
    LONG,
    st.sampled_from(["", "=", "=="]),
)
SHORT = st.sampled_from(['"abc"', '"\\/=="', "1", "null", "true", '"ä"'])
ODD = st.sampled_from(["12345678901234567890", "tru", "1" * 40_000, '"\x01"'])
SPACE = st.sampled_from(["", " ", "\n\t"])


def often(usual: st.SearchStrategy[str], *seldom: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Mostly the first: one oddity is enough to leave a body to the plain way."""
    return st.integers(0, 11).flatmap(lambda roll: st.one_of(*seldom) if roll == 0 else usual)


NAMES = often(st.sampled_from(['"a"', '"data"', '"vendor"', '"ä"']), STRINGS)
VALUES = st.recursive(
    often(st.one_of(GOOD, SHORT), STRINGS, ODD),
    lambda inner: st.one_of(
        st.builds(
            lambda items, space: f"[{space}{f'{space},'.join(items)}{space}]",
            st.lists(inner, max_size=3),
            SPACE,
        ),
        st.builds(
            lambda pairs, space: (
                "{" + f"{space},".join(f"{key}{space}:{value}" for key, value in pairs) + "}"
            ),
            st.lists(st.tuples(NAMES, inner), max_size=2),
            SPACE,
        ),
    ),
    max_leaves=4,
)
URLS = st.lists(
    often(st.one_of(GOOD, SHORT.filter(lambda text: text[0] == '"')), STRINGS), min_size=1, max_size=3
)
MESSAGES = st.one_of(
    st.builds(lambda content: f'{{"role":"user","content":{content}}}', often(GOOD, STRINGS)),
    st.builds(lambda name, value: f'{{"role":"user",{name}:{value}}}', NAMES, VALUES),
    st.builds(
        lambda urls: (
            '{"role":"user","content":['
            + ",".join(f'{{"type":"image_url","image_url":{{"url":{url}}}}}' for url in urls)
            + "]}"
        ),
        URLS,
    ),
)
CONVERSATIONS = st.builds(
    lambda items: f'"messages":[{",".join(items)}]', st.lists(MESSAGES, min_size=1, max_size=3)
)
FIELDS = st.builds(
    lambda conversation, more: [conversation, *more],
    CONVERSATIONS,
    st.lists(
        st.one_of(
            st.builds(lambda name, value: f"{name}:{value}", NAMES, often(SHORT, VALUES)),
            st.builds(lambda value: f'"user":{value}', often(st.just('"me"'), STRINGS)),
            often(st.just('"stream":true'), CONVERSATIONS),
        ),
        max_size=2,
    ),
)
BODIES = st.builds(
    lambda fields, end: (",".join(['{"model":"m"', *fields]) + end).encode(),
    FIELDS,
    often(st.just("}"), st.sampled_from(["", "} ", "}x", "\x00}"])),
)


@settings(deadline=None, max_examples=300)
@given(BODIES, st.lists(st.integers(1, 30_000), min_size=1, max_size=4))
def test_what_goes_out_is_byte_for_byte_what_the_plain_way_sends(body: bytes, sizes: list[int]) -> None:
    """Where the plain way refuses, so does this one: it never lets through more."""
    if sum(sizes) < 500 * len(sizes):
        sizes = [size * 50 for size in sizes]
    out = by_cutting(body, *sizes)
    if out is not None:
        assert out == plain(body)
        assert TOKEN not in out


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 4 * RUN_BYTES), st.integers(0, 63)), min_size=1, max_size=5),
    st.lists(st.integers(1000, 100_000), min_size=1, max_size=4),
)
def test_good_pictures_are_always_cut_whatever_the_chunks(
    pictures: list[tuple[int, int]], sizes: list[int]
) -> None:
    body = chat([picture(run_of(size, start)) for size, start in pictures])
    out = by_cutting(body, *sizes)
    if any(size >= RUN_BYTES for size, _ in pictures):
        assert out == plain(body)
        found = certain(body, *sizes)
        assert len(found.skeleton) < len(pictures) * (RUN_BYTES + 200) + 200
    else:
        assert out is None


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=300), st.integers(0, 3 * RUN_BYTES), st.binary(max_size=300))
def test_any_bytes_at_all_come_back(before: bytes, size: int, behind: bytes) -> None:
    body = before + run_of(size).encode() + behind
    for sizes in ((), (1,), (7, 5000), (RUN_BYTES,)):
        if size < 2000 or sizes != (1,):
            found = cut_up(body, *sizes)
            assert (found.whole() if isinstance(found, CutBody) else found) == body


# --- what is cut ------------------------------------------------------------------------------------


def test_the_shortest_run_that_is_cut() -> None:
    assert isinstance(cut_up(b'"' + run_of(RUN_BYTES - 1).encode() + b'"'), bytes)
    found = certain(b'"' + run_of(RUN_BYTES).encode() + b'"')
    assert found.skeleton.startswith(b'"' + run_of(KEPT_BYTES).encode() + b"+/" + TOKEN)
    assert len(found.skeleton) < KEPT_BYTES + 100


def test_a_run_begins_and_ends_anywhere_in_chunks() -> None:
    body = chat(
        [picture(run_of(RUN_BYTES + 1)), picture(run_of(5 * RUN_BYTES)), {"type": "text", "text": "!"}]
    )
    whole = certain(body)
    for size in (1, 2, 3, 1000, KEPT_BYTES, RUN_BYTES - 1, RUN_BYTES, RUN_BYTES + 1, 4 * RUN_BYTES):
        assert certain(body, size).skeleton == whole.skeleton


def test_long_runs_in_one_chunk_are_all_found() -> None:
    body = chat([picture(run_of(RUN_BYTES + number)) for number in range(40)])
    found = certain(body)
    assert found.skeleton.count(TOKEN) == 40
    assert by_cutting(body) == plain(body)


@pytest.mark.parametrize("padding", ["", "=", "=="])
@pytest.mark.parametrize("off", range(QUANTUM))
def test_base64_stays_base64_and_what_is_none_stays_none(padding: str, off: int) -> None:
    data = run_of(RUN_BYTES + off) + padding
    good = _decodes(data)
    [message] = json.loads(certain(chat([picture(data)])).skeleton)["messages"]
    assert _decodes(message["content"][0]["image_url"]["url"].partition(",")[2]) == good
    assert by_cutting(chat([picture(data)])) == plain(chat([picture(data)]))


def _decodes(data: str) -> bool:
    try:
        base64.b64decode(data, validate=True)
    except ValueError:
        return False
    return True


def test_a_stand_in_is_never_text() -> None:
    data = base64.b64encode(b"some words " * 5000).decode()
    skeleton = certain(chat([picture(data)])).skeleton
    decoded = base64.b64decode(skeleton.partition(b"base64,")[2].partition(b'"')[0], validate=True)
    with pytest.raises(UnicodeDecodeError):
        decoded.decode()


# --- where a cut would not be safe ------------------------------------------------------------------

RUN = run_of(RUN_BYTES + 10)


def named(name: str) -> bytes:
    """A message with a field of that name."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "x", name: 1}]}).encode()


UNSOUND = {
    "a name": named(RUN),
    "a name and spaces": named(RUN).replace(b'": 1', b'" \n: 1'),
    "an escape behind": chat(RUN + '"'),
    "padding inside": chat(RUN + "=="+ RUN),
    "another alphabet behind": chat(RUN + "-"),
    "too much padding": chat(RUN + "==="),
    "outside of messages": chat("x", user=RUN),
    "a schema": chat("x", response_format={"type": "json_schema", "json_schema": {"name": RUN}}),
    "messages that do not count": b'{"messages":["' + RUN.encode() + b'"],' + chat("x")[1:],
}  # fmt: skip


@pytest.mark.parametrize("body", UNSOUND.values(), ids=UNSOUND)
def test_it_is_left_to_the_plain_way(body: bytes) -> None:
    json.loads(body)
    found = certain(body)
    assert not found.is_sound(msgspec.json.decode(found.skeleton, type=dict[str, msgspec.Raw]))
    assert by_cutting(body) is None


@pytest.mark.parametrize(
    "body",
    [
        chat("x")[:-1] + b"," + RUN.encode() + b"}",
        chat("x")[:-1] + b',"seed":' + b"1" * 20_000 + b"}",
        chat("x", metadata={"a": RUN}),
        chat("x", metadata={RUN: "a"}),
        chat("x", safety_identifier=RUN),
        b'{"messages":[{"role":"user","content":"\\' + RUN.encode(),
        RUN.encode(),
    ],
)
def test_what_is_refused_stays_refused(body: bytes) -> None:
    assert isinstance(plain(body), str)
    assert by_cutting(body) is None


# --- mending ----------------------------------------------------------------------------------------


def two() -> tuple[CutBody, bytes, bytes]:
    """A body with two pictures, and their stand-ins with what was kept around them."""
    found = certain(chat([picture(run_of(RUN_BYTES)), picture(run_of(RUN_BYTES * 2, 9))]))
    content = json.loads(found.skeleton)["messages"][0]["content"]
    first, second = (part["image_url"]["url"].partition(",")[2].encode() for part in content)
    return found, first, second


def test_a_stand_in_may_come_twice_and_in_any_order() -> None:
    found, first, second = two()
    mended = found.mend(b"<" + second + b"|" + first + b"|" + second + b">")
    assert mended is not None
    long, short = run_of(RUN_BYTES * 2, 9).encode(), run_of(RUN_BYTES).encode()
    assert b"".join(mended.buffers) == b"<" + long + b"|" + short + b"|" + long + b">"


@pytest.mark.parametrize(
    "change",
    [
        lambda first, second: second,  # one was read, or left out
        lambda first, second: first + second.replace(b"+/" + TOKEN, b"_2b_2f" + TOKEN),
        lambda first, second: first + second[: second.index(TOKEN) + TOKEN_BYTES + 4],
        lambda first, second: first + second.replace(TOKEN + b"00000001", TOKEN + b"00000002"),
        lambda first, second: first + second.replace(TOKEN + b"00000001", TOKEN + b"0000000z"),
        lambda first, second: first + second.replace(TOKEN + b"00000001/", TOKEN + b"00000001_"),
        lambda first, second: first + second + TOKEN,
    ],
)
def test_a_stand_in_that_was_touched_is_noticed(change: Any) -> None:
    found, first, second = two()
    assert found.mend(first + second) is not None
    assert found.mend(change(first, second)) is None


def test_a_large_picture_is_held_once() -> None:
    size = 16 << 20
    head, end = chat([picture("@")]).split(b"@")
    tracemalloc.start()
    cutter = Cutter(TOKEN)
    cutter.feed(head)
    for _ in range(64):
        cutter.feed(bytes(size // 64).replace(b"\x00", b"A"))
    cutter.feed(end)
    found = cutter.finish()
    assert isinstance(found, CutBody)
    mended = found.mend(splice(fields_of(found.skeleton), model="there"))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mended is not None
    assert size < len(mended) < size + 1000
    assert peak_bytes < size + (1 << 20)


def test_the_quantum_holds() -> None:
    assert KEPT_BYTES % QUANTUM == 0
    found = certain(chat([picture(run_of(RUN_BYTES + 3))]))
    assert (len(chat([picture(run_of(RUN_BYTES + 3))])) - len(found.skeleton)) % QUANTUM == 0
    assert cut.RUN_BYTES > KEPT_BYTES + QUANTUM
