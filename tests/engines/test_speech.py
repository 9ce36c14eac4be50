"""The speech engine's own program, over its socket: voices, formats, streams, refusals."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from headgate.core.sse import events, payload
from headgate.engines.voices import OPENAI_VOICES
from tests.engines.hosted import hosted
from tests.engines.running import RunningEngine, wait_until
from tests.models.voice import LETTER_SAMPLES, RATE, write_voice

SENTENCE = "Hello there, this is a test."


@pytest.fixture(scope="module")
def small() -> Iterator[RunningEngine]:
    with hosted("speech", "--alias=tts", "--voice=narrator=en-gb+m3") as running:
        yield running


@pytest.fixture(scope="module")
def neural(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    folder = write_voice(tmp_path_factory.mktemp("voice"))
    with hosted("speech", f"--model={folder}", "--alias=tts", "--voice=bob=2", "--threads=1") as running:
        yield running


class Said:
    """What came back."""

    def __init__(self, engine: RunningEngine, **body: Any) -> None:
        asked = {"model": "tts", "input": SENTENCE, "voice": "alloy", **body}
        connection = engine.begin("/v1/audio/speech", asked)
        reply = connection.getresponse()
        self.status, self.data = reply.status, reply.read()
        self.headers = dict(reply.getheaders())
        connection.close()

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.data)["error"])

    @property
    def samples(self) -> Any:
        """Of a `pcm` reply."""
        assert self.status == 200, self.data
        return np.frombuffer(self.data, "<i2")


@pytest.mark.parametrize(
    ("name", "kind", "container"),
    [
        ("mp3", "audio/mpeg", "mp3"), ("opus", "audio/ogg", "ogg"), ("aac", "audio/aac", "aac"),
        ("flac", "audio/flac", "flac"), ("wav", "audio/wav", "wav"),
    ],
)  # fmt: skip
def test_every_format_holds_the_same_sound(
    small: RunningEngine, name: str, kind: str, container: str
) -> None:
    said = Said(small, response_format=name)
    assert (said.status, said.headers["content-type"]) == (200, kind)
    expected = len(Said(small, response_format="pcm").samples) / 24_000
    with av.open(io.BytesIO(said.data), "r") as sound:
        assert container in sound.format.name
        stream = sound.streams.audio[0]
        assert sum(frame.samples for frame in sound.decode(stream)) / stream.rate == pytest.approx(
            expected, abs=0.15
        )


def test_the_default_is_mp3(small: RunningEngine) -> None:
    assert Said(small).headers["content-type"] == "audio/mpeg"


def test_every_name_of_openais_is_a_voice_of_its_own(small: RunningEngine) -> None:
    sounds = [Said(small, voice=name, response_format="pcm") for name in OPENAI_VOICES]
    assert len(sounds) == 13
    assert len({sound.headers["x-headgate-voice"] for sound in sounds}) == 13
    assert len({sound.data for sound in sounds}) == 13


@pytest.mark.parametrize("voice", ["de", "fr+f2", "+m1", "cmn", "narrator", {"id": "en-us"}])
def test_voices_of_its_own(small: RunningEngine, voice: Any) -> None:
    said = Said(small, voice=voice, response_format="pcm")
    assert np.abs(said.samples).max() > 1000
    assert said.headers["x-headgate-voice"].startswith("espeak-ng/")


def test_the_language_follows_the_script(small: RunningEngine) -> None:
    mandarin = Said(small, input="今天天气很好", voice="cmn+f3", response_format="pcm")
    english = Said(small, input="今天天气很好", voice="en-us+f3", response_format="pcm")
    found = Said(small, input="今天天气很好", response_format="pcm")
    # Not byte for byte: the breath in it is noise.
    assert len(found.data) == len(mandarin.data) != len(english.data)


@pytest.mark.parametrize("speed", [0.25, 0.6, 2.0, 4.0])
def test_a_speed_is_kept(small: RunningEngine, speed: float) -> None:
    text = SENTENCE * 5
    usual = len(Said(small, input=text, response_format="pcm").samples)
    found = len(Said(small, input=text, response_format="pcm", speed=speed).samples)
    assert usual / found == pytest.approx(speed, rel=0.2)  # its pauses do not scale quite


def test_instructions_are_followed_as_far_as_it_can_or_told_as_dropped(small: RunningEngine) -> None:
    plain = Said(small, response_format="pcm")
    cheerful = Said(small, response_format="pcm", instructions="Speak in a cheerful tone.")
    assert cheerful.data != plain.data
    assert "x-headgate-dropped" not in cheerful.headers
    odd = Said(small, response_format="pcm", instructions="Be a pirate.")
    assert odd.headers["x-headgate-dropped"] == "instructions"


def test_events_carry_the_same_sound_and_end_with_usage(small: RunningEngine) -> None:
    said = Said(small, stream_format="sse", response_format="pcm")
    assert said.headers["content-type"] == "text/event-stream"
    *deltas, done = [json.loads(payload(event) or b"") for event in events(said.data)]
    assert {delta["type"] for delta in deltas} == {"speech.audio.delta"}
    sound = b"".join(base64.b64decode(delta["audio"]) for delta in deltas)
    assert len(sound) == len(Said(small, response_format="pcm").data)
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["input_tokens"] > 3
    assert usage["output_tokens"] == pytest.approx(len(sound) / 48_000 * 1250 / 60, abs=1)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"voice": "nobody"}, "voice", "invalid_value"),
        ({"voice": "xx+f2"}, "voice", "invalid_value"),
        ({"voice": "de+../../etc/passwd"}, "voice", "invalid_value"),
        ({"voice": ""}, "voice", "invalid_value"),
        ({"voice": None}, "voice", "invalid_type"),
        ({"input": ""}, "input", "empty_string"),
        ({"input": "a" * 4097}, "input", "string_above_max_length"),
        ({"response_format": "midi"}, "response_format", "invalid_value"),
        ({"stream_format": "xml"}, "stream_format", "invalid_value"),
        ({"speed": 0.2}, "speed", "decimal_below_min_value"),
        ({"speed": 4.1}, "speed", "decimal_above_max_value"),
        ({"instructions": "a" * 4097}, "instructions", "string_above_max_length"),
    ],
)
def test_what_is_wrong_is_named(small: RunningEngine, body: dict[str, Any], param: str, code: str) -> None:
    said = Said(small, **body)
    assert (said.status, said.error["param"], said.error["code"]) == (400, param, code)


@pytest.mark.parametrize("text", ["...", " ", "\0\1\2", "🙂🙂", "<speak><break time='10s'/>x</speak>", "[[x"])
def test_odd_texts_are_spoken_or_not_and_hurt_nobody(small: RunningEngine, text: str) -> None:
    assert Said(small, input=text).status == 200
    assert Said(small).status == 200


def test_a_listener_who_leaves_ends_the_work(small: RunningEngine) -> None:
    connection = small.begin(
        "/v1/audio/speech", {"model": "tts", "input": "word " * 800, "voice": "alloy", "speed": 0.25}
    )
    assert connection.getresponse().read(10)
    connection.close()
    wait_until(lambda: Said(small).status == 200)


# --- neural ---------------------------------------------------------------------------------------


def test_a_model_speaks_with_its_own_speakers(neural: RunningEngine) -> None:
    expected = len("hello there") * LETTER_SAMPLES / RATE
    loud = {}
    for voice, number in (("0", 0), ("alloy", 0), ("ash", 1), ("fable", 2), ("bob", 2)):
        said = Said(neural, input="hello there", voice=voice, response_format="pcm")
        assert said.headers["x-headgate-voice"] == f"sherpa-onnx/{number}"
        assert len(said.samples) / 24_000 == pytest.approx(expected, rel=0.05)
        loud[number] = int(np.abs(said.samples.astype(int)).max())
    assert loud[0] > loud[1] > loud[2]


def test_a_model_takes_speeds_and_drops_instructions_openly(neural: RunningEngine) -> None:
    usual = Said(neural, input="hello there", response_format="pcm")
    quick = Said(neural, input="hello there", response_format="pcm", speed=2, instructions="cheerful")
    assert len(usual.samples) / len(quick.samples) == pytest.approx(2, rel=0.05)
    assert quick.headers["x-headgate-dropped"] == "instructions"


def test_speakers_with_names_are_known_by_them(tmp_path: Path) -> None:
    folder = write_voice(tmp_path / "named", 3, ["af_bella", "am_echo", "af_alloy"])
    with hosted("speech", f"--model={folder}", "--alias=tts", "--voice=bob=af_bella") as engine:
        for voice, number in (("af_bella", 0), ("bob", 0), ("echo", 1), ("alloy", 2), ("coral", 0), ("1", 1)):
            said = Said(engine, input="hi", voice=voice)
            assert said.headers["x-headgate-voice"] == f"sherpa-onnx/{number}", voice
        assert "'am_echo'" in Said(engine, voice="nobody").error["message"]


def test_another_speaker_is_refused(neural: RunningEngine) -> None:
    assert Said(neural, voice="3").error["param"] == "voice"
    assert "'0' to '2'" in Said(neural, voice="de").error["message"]


# --- starts that fail -----------------------------------------------------------------------------


def start(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headgate", "engine", "speech", *options],
        env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("library", "extra", "model"),
    [("espeakng_loader", "espeak", False), ("sherpa_onnx", "speech", True), ("av", "media", False)],
)
def test_a_missing_library_is_told_with_what_installs_it(
    library: str, extra: str, model: bool, tmp_path: Path
) -> None:
    (tmp_path / f"{library}.py").write_text(f"raise ImportError(name={library!r})")
    options = [f"--model={write_voice(tmp_path / 'voice')}"] if model else []
    result = start(*options, PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert f"pip install 'headgate[{extra}]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_no_voice_is_told_so(tmp_path: Path) -> None:
    assert "tokens.txt" in start(f"--model={tmp_path}").stderr
    (tmp_path / "tokens.txt").touch()
    assert "*.onnx" in start(f"--model={tmp_path}").stderr


def test_a_voice_is_named_with_an_equals_sign() -> None:
    assert "NAME=VOICE" in start("--voice=x").stderr
