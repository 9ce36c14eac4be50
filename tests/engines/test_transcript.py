"""A transcript in every form."""

from __future__ import annotations

import json

from headgate.core.sse import payload
from headgate.engines.hearing import Segment, Word
from headgate.engines.transcript import Transcript, delta, done, joined, written

SEGMENTS = [
    Segment(0.5, 1.25, "hello there", [Word("hello", 0.5, 0.8), Word("there", 0.8, 1.25)]),
    Segment(3661.0, 3662.0, " bye --> now", [Word("bye", 3661.0, 3662.0)]),
]
SAID = Transcript("de", 3662.4, SEGMENTS)


def told(form: str, *granularities: str) -> str:
    return written(SAID, form, granularities).decode()


def test_plain_forms() -> None:
    assert told("text") == "hello there bye --> now\n"
    assert json.loads(told("json")) == {
        "text": "hello there bye --> now", "usage": {"type": "duration", "seconds": 3663},
    }  # fmt: skip


def test_subtitles() -> None:
    assert told("srt") == (
        "1\n00:00:00,500 --> 00:00:01,250\nhello there\n\n2\n01:01:01,000 --> 01:01:02,000\nbye --> now\n\n"
    )
    assert told("vtt") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.250\nhello there\n\n"
        "01:01:01.000 --> 01:01:02.000\nbye -> now\n\n"
    )


def test_verbose_json_holds_what_was_asked_for() -> None:
    usual = json.loads(told("verbose_json"))
    assert (usual["task"], usual["language"], usual["duration"]) == ("transcribe", "german", 3662.4)
    assert [one["id"] for one in usual["segments"]] == [0, 1]
    assert usual["segments"][0].keys() == {
        "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio",
        "no_speech_prob",
    }  # fmt: skip
    assert "words" not in usual
    words = json.loads(told("verbose_json", "word"))
    assert "segments" not in words
    assert words["words"][1] == {"word": "there", "start": 0.8, "end": 1.25}
    assert json.loads(told("verbose_json", "word", "segment")).keys() >= {"words", "segments"}


def test_a_translation_is_english() -> None:
    reply = json.loads(written(Transcript("de", 1.0, SEGMENTS[:1], translated=True), "verbose_json", ()))
    assert (reply["task"], reply["language"]) == ("translate", "english")


def test_languages_without_spaces_bring_none() -> None:
    assert joined([Segment(0, 1, "你好"), Segment(1, 2, "世界")]) == "你好世界"
    assert joined([Segment(0, 1, " one"), Segment(1, 2, " two")]) == "one two"
    assert joined([]) == ""


def test_events() -> None:
    assert json.loads(payload(delta("hi")) or b"") == {"type": "transcript.text.delta", "delta": "hi"}
    end = json.loads(payload(done(Transcript("en", 60.0, SEGMENTS[:1], prompt="one two"))) or b"")
    assert (end["type"], end["text"]) == ("transcript.text.done", "hello there")
    usage = end["usage"]
    assert usage["input_token_details"] == {"text_tokens": 2, "audio_tokens": 1000}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] == 1004


def test_silence() -> None:
    nothing = Transcript("en", 2.0, [])
    assert written(nothing, "srt", ()) == b""
    assert written(nothing, "vtt", ()) == b"WEBVTT\n\n"
    assert json.loads(written(nothing, "verbose_json", ("word", "segment")))["segments"] == []
