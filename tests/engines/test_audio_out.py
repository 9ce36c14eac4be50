"""Six formats, sent while they are made: whole when put together, and as long as what was fed."""

from __future__ import annotations

import io
import wave

import av
import numpy as np
import pytest

from headgate.engines.audio_out import FORMATS, PCM_RATE, AudioOut, Samples

CODECS = {"mp3": "mp3float", "opus": "opus", "aac": "aac", "flac": "flac", "wav": "pcm_s16le"}


def tone(seconds: float, rate: int = 22_050) -> Samples:
    return np.asarray(np.sin(np.arange(int(seconds * rate)) * 0.1) * 12_000, np.int16)


def made(
    name: str, seconds: float = 2.0, rate: int = 22_050, tempo: float = 1.0
) -> tuple[list[bytes], float]:
    sound = AudioOut(name, rate, tempo)
    parts = [sound.feed(part) for part in np.array_split(tone(seconds, rate), 20)]
    return [*parts, sound.finish()], sound.seconds


def decoded_seconds(data: bytes) -> float:
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.audio[0]
        return sum(frame.samples for frame in container.decode(stream)) / stream.rate


@pytest.mark.parametrize("name", CODECS)
def test_a_format_can_be_read_again(name: str) -> None:
    parts, seconds = made(name)
    assert seconds == pytest.approx(2.0, abs=0.02)
    data = b"".join(parts)
    with av.open(io.BytesIO(data)) as container:
        assert container.streams.audio[0].codec_context.name == CODECS[name]
        assert container.streams.audio[0].codec_context.channels == 1
    assert decoded_seconds(data) == pytest.approx(2.0, abs=0.12)


@pytest.mark.parametrize("name", FORMATS)
def test_it_is_sent_while_it_is_made(name: str) -> None:
    parts, _ = made(name)
    assert sum(map(len, parts[:10])) > 0.3 * sum(map(len, parts))


@pytest.mark.parametrize(("name", "limit"), [("mp3", 64_000), ("opus", 40_000), ("aac", 64_000)])
def test_bit_rates_are_those_of_speech(name: str, limit: int) -> None:
    parts, seconds = made(name, 5.0)
    assert sum(map(len, parts)) * 8 / seconds < limit * 1.35


def test_pcm_is_bare_samples() -> None:
    parts, _ = made("pcm", 1.0, 16_000)
    assert len(b"".join(parts)) == pytest.approx(PCM_RATE * 2, abs=200)


def test_a_wav_is_understood_by_others() -> None:
    parts, _ = made("wav", 1.0)
    with wave.open(io.BytesIO(b"".join(parts))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, PCM_RATE)


@pytest.mark.parametrize("tempo", [0.3, 0.5, 1.6, 3.0])
def test_a_tempo_changes_the_length_alone(tempo: float) -> None:
    parts, seconds = made("wav", 3.0, tempo=tempo)
    assert seconds == pytest.approx(3.0 / tempo, rel=0.05)
    samples = np.frombuffer(b"".join(parts)[44:], "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples[: PCM_RATE // 2]))
    assert np.argmax(spectrum) * 2 == pytest.approx(0.1 * 22_050 / (2 * np.pi), rel=0.05)


@pytest.mark.parametrize("name", FORMATS)
def test_a_sound_of_nothing_still_ends(name: str) -> None:
    sound = AudioOut(name, 22_050, 2.0)
    sound.feed(np.zeros(0, np.int16))
    sound.finish()
    assert sound.seconds == 0
