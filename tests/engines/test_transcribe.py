"""The transcription engine's own program, over its socket: forms, streams, refusals, and a round trip."""

from __future__ import annotations

import ctypes.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headgate.core.sse import events, payload
from tests.engines.hosted import hosted
from tests.engines.running import RunningEngine, UnixConnection, is_healthy, wait_until
from tests.engines.sounds import CONCAT, PLAYLIST, PNG, film, tone, wav
from tests.forms import Part, content_type, form
from tests.models.whisper import write_whisper

SENTENCES = ("The quick brown fox jumps over the lazy dog.", "She sells sea shells by the sea shore.")


@pytest.fixture(scope="module")
def english() -> Iterator[RunningEngine]:
    with hosted("transcribe", "--alias=ears") as running:
        yield running


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    folder = write_whisper(tmp_path_factory.mktemp("whisper"), ((0.0, "Hello.", 1.0), (1.2, "Bye.", 2.0)))
    with hosted("transcribe", f"--model={folder}", "--alias=ears", "--threads=1") as running:
        yield running


@pytest.fixture(scope="module")
def spoken() -> bytes:
    """Both sentences in flite's clearest voice, with a second between them."""
    if ctypes.util.find_library("flite") is None:
        pytest.skip("libflite is not here: apt-get install libflite1")
    with hosted("speech", "--alias=tts") as running:
        samples = []
        for sentence in SENTENCES:
            body = {"model": "tts", "input": sentence, "voice": "rms", "response_format": "pcm"}
            status, data = running.ask("/v1/audio/speech", body)
            assert status == 200
            samples += [data, bytes(48_000)]
    return wav(b"".join(samples), 24_000)


@pytest.fixture(scope="module")
def short(spoken: bytes) -> bytes:
    """Its first two seconds, which end in `fox`: listening takes time."""
    return wav(spoken[44 : 44 + 2 * 48_000], 24_000)


def send(
    engine: RunningEngine,
    *parts: Part,
    path: str = "transcriptions",
    kind: str | None = None,
    body: bytes | None = None,
) -> UnixConnection:
    connection = UnixConnection(engine.socket_path)
    sent = form(("model", "ears"), *parts) if body is None else body
    connection.request("POST", f"/v1/audio/{path}", sent, {"content-type": kind or content_type()})
    return connection


def ask(engine: RunningEngine, *parts: Part, **more: Any) -> tuple[int, dict[str, str], bytes]:
    connection = send(engine, *parts, **more)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, dict(reply.getheaders()), data


def file(data: bytes) -> Part:
    return ("file", data, "upload")


# --- pocketsphinx ---------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    return "".join(letter for letter in text.lower() if letter.isalpha() or letter == " ").split()


def errors(said: list[str], heard: list[str]) -> int:
    """Words to change, add or drop until one is the other (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for left in said:
        new = [row[0] + 1]
        for place, right in enumerate(heard):
            new.append(min(row[place] + (left != right), row[place + 1] + 1, new[place] + 1))
        row = new
    return row[-1]


def test_what_is_spoken_is_heard(english: RunningEngine, spoken: bytes) -> None:
    status, headers, data = ask(english, file(spoken))
    assert status == 200, data
    assert headers["content-type"] == "application/json"
    assert headers["x-headgate-languages"] == "en"
    reply = json.loads(data)
    # It joins `sea shells` into one word.
    said = words(" ".join(SENTENCES).replace("sea s", "seas"))
    assert errors(said, words(reply["text"])) <= 2, reply["text"]
    assert reply["usage"]["type"] == "duration"


def test_words_have_their_times_and_pauses_make_segments(english: RunningEngine, spoken: bytes) -> None:
    granularities = [("timestamp_granularities[]", name) for name in ("word", "segment")]
    status, _, data = ask(english, file(spoken), ("response_format", "verbose_json"), *granularities)
    reply = json.loads(data)
    assert status == 200
    times = [(word["start"], word["end"]) for word in reply["words"]]
    assert times == sorted(times)
    assert all(0 <= start < end <= reply["duration"] + 0.1 for start, end in times)
    assert len(reply["segments"]) == 2
    assert reply["segments"][1]["start"] - reply["segments"][0]["end"] > 0.7
    assert reply["language"] == "english"


def test_a_stream_tells_segments_as_they_are_found(english: RunningEngine, spoken: bytes) -> None:
    status, headers, data = ask(english, file(spoken), ("stream", "true"))
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    *deltas, done = [json.loads(payload(event) or b"") for event in events(data)]
    assert len(deltas) == 2
    assert {delta["type"] for delta in deltas} == {"transcript.text.delta"}
    assert done["type"] == "transcript.text.done"
    assert "".join(delta["delta"] for delta in deltas) == done["text"]
    assert done["usage"]["total_tokens"] > 0


def test_the_same_is_heard_again(english: RunningEngine, spoken: bytes, short: bytes) -> None:
    ask(english, file(spoken))  # a decoder that has heard something else
    heard = {ask(english, file(short), ("response_format", "text"))[2] for _ in range(3)}
    assert len(heard) == 1


@pytest.mark.parametrize("name", ["text", "srt", "vtt"])
def test_plain_forms(english: RunningEngine, short: bytes, name: str) -> None:
    status, headers, data = ask(english, file(short), ("response_format", name))
    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert b"fox" in data


def test_a_translation_says_that_it_knows_english_only(english: RunningEngine, short: bytes) -> None:
    status, headers, data = ask(english, file(short), path="translations")
    assert (status, headers["x-headgate-languages"]) == (200, "en")
    assert "fox" in json.loads(data)["text"]


def test_what_it_cannot_use_is_told(english: RunningEngine) -> None:
    sound = file(wav(tone(1.0)))
    _, headers, _ = ask(
        english, sound, ("prompt", "x"), ("temperature", "0.4"), ("chunking_strategy", "auto")
    )
    assert headers["x-headgate-dropped"] == "prompt, temperature, chunking_strategy"
    assert "x-headgate-dropped" not in ask(english, sound, ("language", "en"))[1]


def test_silence_says_nothing(english: RunningEngine) -> None:
    status, _, data = ask(english, file(wav(bytes(64_000))))
    assert (status, json.loads(data)["text"]) == (200, "")


# --- refusals -------------------------------------------------------------------------------------

GOOD = file(wav(tone(0.5)))


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ([file(b"")], "file", "invalid_value"),
        ([file(b"words")], "file", "invalid_value"),
        ([file(PNG)], "file", "invalid_value"),
        ([file(PLAYLIST)], "file", "invalid_value"),
        ([file(CONCAT)], "file", "invalid_value"),
        ([file(film())], "file", "invalid_value"),
        ([file(wav(tone(0.01)))], "file", "audio_too_short"),
        ([], "file", "missing_required_parameter"),
        ([GOOD, GOOD], "file", "invalid_value"),
        ([GOOD, ("model", "ears")], "model", "invalid_value"),
        ([GOOD, ("language", "de")], "language", "invalid_value"),
        ([GOOD, ("response_format", "doc")], "response_format", "invalid_value"),
        ([GOOD, ("response_format", "diarized_json")], "response_format", "invalid_value"),
        ([GOOD, ("response_format", "srt"), ("stream", "true")], "stream", "invalid_parameter_combination"),
        ([GOOD, ("temperature", "2")], "temperature", "decimal_above_max_value"),
        ([GOOD, ("include[]", "logprobs")], "include", "unsupported_parameter"),
        ([GOOD, ("include[]", "x")], "include", "invalid_value"),
        ([GOOD, ("known_speaker_names[]", "x")], "known_speaker_names", "unsupported_parameter"),
        ([GOOD, ("chunking_strategy", "x")], "chunking_strategy", "invalid_value"),
        ([GOOD, ("chunking_strategy", '{"type":"x"}')], "chunking_strategy.type", "invalid_value"),
        (
            [GOOD, ("response_format", "verbose_json"), ("timestamp_granularities[]", "page")],
            "timestamp_granularities",
            "invalid_value",
        ),
    ],
)
def test_what_is_wrong_is_named(english: RunningEngine, parts: list[Part], param: str, code: str) -> None:
    status, _, data = ask(english, *parts)
    error = json.loads(data)["error"]
    assert (status, error["param"], error["code"]) == (400, param, code), error
    assert is_healthy(english.socket_path)


def test_a_form_that_is_none_is_refused(english: RunningEngine) -> None:
    assert ask(english, body=b"{}", kind="application/json")[0] == 400
    assert ask(english, body=form(("model", "ears"), GOOD), kind=content_type("other"))[0] == 400
    assert ask(english, body=form(("model", "ears"), GOOD, end=False))[0] == 400
    assert ask(english, body=form(("model", "other"), GOOD))[0] == 404


def test_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with hosted("transcribe", "--alias=ears", environment=environment) as engine:
        large = file(wav(tone(60.0)))
        for data in (file(b"x" * 3_000_000), large):
            ask(engine, data, ("response_format", "doc"))
            assert list(tmp_path.iterdir()) == []
        connection = send(engine, large)  # heard for seconds
        assert list(tmp_path.iterdir()) == []
        connection.close()


def test_whoever_hangs_up_is_not_listened_to_any_more(english: RunningEngine) -> None:
    noise = np.random.default_rng(1).normal(size=16_000 * 120) * 3000
    connection = send(english, file(wav(noise.astype("<i2").tobytes())))
    connection.close()
    wait_until(lambda: ask(english, GOOD)[0] == 200)


# --- faster-whisper -------------------------------------------------------------------------------


def test_a_real_models_way(whisper: RunningEngine) -> None:
    """A tiny model that always hears the same: what it says is no proof of anything but the way."""
    sound = file(wav(tone(3.0)))
    status, headers, data = ask(whisper, sound, ("response_format", "verbose_json"), ("temperature", "0"))
    assert status == 200, data
    assert "x-headgate-dropped" not in headers
    reply = json.loads(data)
    assert [(one["text"], one["start"], one["end"]) for one in reply["segments"]] == [
        ("Hello.", 0.0, 1.0),
        ("Bye.", 1.2, 2.0),
    ]
    assert reply["segments"][0]["tokens"]
    assert reply["duration"] == 3.0
    _, _, streamed = ask(whisper, sound, ("stream", "true"))
    assert [json.loads(payload(event) or b"").get("delta") for event in events(streamed)] == [
        "Hello.",
        " Bye.",
        None,
    ]


def test_a_translation_takes_the_same_way(whisper: RunningEngine) -> None:
    status, headers, data = ask(
        whisper, file(wav(tone(3.0))), ("response_format", "verbose_json"), path="translations"
    )
    reply = json.loads(data)
    assert (status, reply["task"], reply["language"]) == (200, "translate", "english")
    assert headers["x-headgate-languages"] == "en", "this one is an English model"


def test_its_vad_hears_that_nobody_speaks(whisper: RunningEngine) -> None:
    vad = json.dumps(
        {"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 300, "prefix_padding_ms": 100}
    )
    for strategy in ("auto", vad):
        status, _, data = ask(whisper, file(wav(tone(2.0))), ("chunking_strategy", strategy))
        assert (status, json.loads(data)["text"]) == (200, "")


def test_a_language_that_it_does_not_know_is_refused(whisper: RunningEngine) -> None:
    status, _, data = ask(whisper, file(wav(tone(1.0))), ("language", "xx"))
    assert (status, json.loads(data)["error"]["param"]) == (400, "language")


# --- starts that fail -----------------------------------------------------------------------------


def start(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headgate", "engine", "transcribe", *options],
        env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("library", "extra", "model"),
    [
        ("pocketsphinx", "transcribe-starter", False),
        ("faster_whisper", "transcribe", True),
        ("av", "media", False),
    ],
)
def test_a_missing_library_is_told_with_what_installs_it(
    library: str, extra: str, model: bool, tmp_path: Path
) -> None:
    (tmp_path / f"{library}.py").write_text(f"raise ImportError(name={library!r})")
    (tmp_path / "model").mkdir()
    result = start(*([f"--model={tmp_path / 'model'}"] if model else []), PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert f"pip install 'headgate[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_no_model_is_told_so(tmp_path: Path) -> None:
    assert "model.bin" in start(f"--model={tmp_path}").stderr
    (tmp_path / "model.bin").write_bytes(b"x")
    assert "tokenizer.json" in start(f"--model={tmp_path}").stderr
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "Traceback" not in start(f"--model={tmp_path}").stderr
