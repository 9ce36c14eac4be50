"""Forms, however they arrive: what is in them, what is passed on, and how the rest is refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.errors import BadRequest, InvalidField, TooLarge
from headgate.core.multipart import FIELDS_BYTES, MOST_PARTS, Form, FormReader, read_form
from headgate.core.transcription import UPLOADS, TranscriptionRequest, Vad
from tests.forms import Part, content_type, cut, form

SOUND = ("file", b"\x00\xffabc\r\n--", "upload")
MODEL = ("model", "m")


def read(
    body: bytes, *, frame: str = "", sizes: tuple[int, ...] = (7,), kind: str | None = None
) -> tuple[Form, bytes]:
    out: list[bytes] = []
    reader = FormReader((kind or content_type()).encode(), out.append, frame)
    for piece in cut(body, sizes):
        reader.feed(piece)
    found = reader.finish()
    return found, b"".join(out) + (reader.closing("model-there") if frame else b"")


def request(*parts: Part) -> TranscriptionRequest:
    return read_form(read(form(*parts))[0], TranscriptionRequest, UPLOADS)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_however_it_arrives_it_is_the_same(sizes: list[int]) -> None:
    body = form(MODEL, SOUND, ("prompt", "你好"), ("image[]", b"two", "b.png"))
    found, files = read(body, sizes=tuple(sizes))
    assert found.fields == {"model": ["m"], "prompt": ["你好"]}
    assert [(file.name, file.filename) for file in found.files] == [("file", "upload"), ("image", "b.png")]
    assert [files[file.start : file.start + file.size] for file in found.files] == [SOUND[1], b"two"]
    again, passed_on = read(body, frame="own", sizes=tuple(sizes))
    assert [passed_on[file.start : file.start + file.size] for file in again.files] == [SOUND[1], b"two"]


def test_what_is_passed_on_is_the_form_with_another_model() -> None:
    _, passed_on = read(form(MODEL, SOUND, ("odd", "x"), ("image[]", b"two", "a b.png")), frame="own")
    found, files = read(passed_on, kind=content_type("own"))
    assert found.fields == {"odd": ["x"], "model": ["model-there"]}
    assert files == SOUND[1] + b"two"
    assert b'name="image[]"' in passed_on, "a name stays as it was"
    assert b'filename="a b.png"' in passed_on


def test_texts_are_read_as_what_is_declared() -> None:
    found = request(
        MODEL, SOUND, ("temperature", "0.5"), ("stream", "true"), ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment"), ("language", "1"),
        ("chunking_strategy", '{"type":"server_vad","threshold":0.3}'),
    )  # fmt: skip
    assert (found.temperature, found.stream, found.language) == (0.5, True, "1")
    assert found.timestamp_granularities == ["word", "segment"]
    assert found.chunking_strategy == Vad(type="server_vad", threshold=0.3)
    assert found.file == "upload"
    assert request(MODEL, SOUND, ("chunking_strategy", "auto")).chunking_strategy == "auto"
    assert request(MODEL, SOUND, ("keywords", "one")).keywords == ["one"], "a list of one needs no brackets"


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ([MODEL], "file", "missing_required_parameter"),
        ([SOUND], "model", "missing_required_parameter"),
        ([MODEL, MODEL, SOUND], "model", "invalid_value"),
        ([MODEL, SOUND, SOUND], "file", "invalid_value"),
        ([MODEL, ("file", "words")], "file", "invalid_type"),
        ([SOUND, ("model", b"m", "m.txt")], "model", "invalid_type"),
        ([MODEL, ("file", b"", "upload")], "file", "invalid_value"),
        ([MODEL, SOUND, ("temperature", "hot")], "temperature", "invalid_type"),
        ([MODEL, SOUND, ("temperature", "1.5")], "temperature", "decimal_above_max_value"),
        ([MODEL, SOUND, ("temperature", "1e999")], "temperature", "decimal_above_max_value"),
        ([MODEL, SOUND, ("stream", "maybe")], "stream", "invalid_type"),
        ([MODEL, SOUND, ("chunking_strategy", '{"type":1}')], "chunking_strategy.type", "invalid_type"),
        ([MODEL, SOUND, ("timestamp_granularities[]", "word")], "timestamp_granularities", "invalid_value"),
        (
            [MODEL, SOUND, *[("known_speaker_names[]", "x")] * 5],
            "known_speaker_names",
            "array_above_max_length",
        ),
        ([SOUND, ("model", b"\xff")], "model", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(parts: list[Part], param: str, code: str) -> None:
    with pytest.raises(InvalidField) as refused:
        request(*parts)
    assert (refused.value.param, refused.value.code) == (param, code)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not a form",
        form(MODEL, SOUND, end=False),
        form(MODEL, SOUND)[:-20],
        form(MODEL, SOUND, boundary="another"),
        form(MODEL).replace(b'name="model"', b""),
        form(MODEL).replace(b"Content-Disposition", b"X"),
        form(MODEL).replace(b"\r\n\r\n", b"\n\n"),
    ],
)
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        read(body)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        f"multipart/form-data; boundary={'x' * 300}",
        "",
    ],
)
def test_what_does_not_say_it_is_a_form_is_refused(kind: str) -> None:
    with pytest.raises(BadRequest):
        FormReader(kind.encode(), list[bytes]().append)


def test_limits() -> None:
    with pytest.raises(TooLarge):
        read(form(*[(f"f{number}", "") for number in range(MOST_PARTS + 1)]))
    with pytest.raises(TooLarge):
        read(form(("prompt", "a" * (FIELDS_BYTES + 1))), sizes=(65_536,))
    with pytest.raises(TooLarge):
        read(form(("n" * 10_000, "a")), sizes=(65_536,))


@given(st.binary(max_size=300), st.lists(st.integers(1, 50), min_size=1, max_size=4))
def test_garbage_is_refused_in_our_words(garbage: bytes, sizes: list[int]) -> None:
    body = form(MODEL, SOUND)
    for broken in (garbage, body[:40] + garbage + body[40:], garbage + body):
        with suppress(BadRequest, TooLarge):  # anything else is a fault of ours
            read(broken, frame="own", sizes=tuple(sizes))
