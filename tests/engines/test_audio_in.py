"""Uploaded sound: every format by its bytes, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest

from headgate.core.errors import InvalidField
from headgate.engines.audio_in import read_sound
from headgate.engines.hearing import RATE
from tests.engines.sounds import CONCAT, PLAYLIST, PNG, encoded, endless_flac, film, tone, wav


def sound(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return read_sound(io.BytesIO(data), lambda: True)


@pytest.mark.parametrize(
    ("container", "codec"),
    [("mp3", "libmp3lame"), ("ogg", "libopus"), ("flac", "flac"), ("mp4", "aac"), ("webm", "libopus"),
     ("adts", "aac"), ("wav", "pcm_s16le"), ("ogg", "flac"), ("mpegts", "mp2")],
)  # fmt: skip
def test_a_format_is_known_by_its_bytes(container: str, codec: str) -> None:
    samples = sound(encoded(container, codec))
    assert len(samples) / RATE == pytest.approx(1.0, abs=0.12)
    assert np.abs(samples.astype(int)).max() > 3000


def test_any_rate_becomes_ours() -> None:
    assert len(sound(wav(tone(2.0, 44_100), 44_100))) == pytest.approx(2 * RATE, abs=50)


@pytest.mark.parametrize(
    "data",
    [b"text that is named .mp3", PNG, PLAYLIST, CONCAT, b"\0" * 5000, bytes(range(256)) * 40, film(),
     encoded("mp4", "aac")[:200], wav(b"")],
    ids=["text", "png", "playlist", "concat", "zeros", "bytes", "film", "cut", "empty"],
)  # fmt: skip
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidField) as refused:
        sound(data)
    assert refused.value.param == "file"


def test_a_sound_too_short_for_a_word_is_refused() -> None:
    with pytest.raises(InvalidField) as refused:
        sound(wav(tone(0.05)))
    assert (refused.value.param, refused.value.code) == ("file", "audio_too_short")


def test_hours_packed_into_a_few_bytes_are_refused() -> None:
    data = endless_flac(3 * 3600)
    assert len(data) < 5_000_000
    with pytest.raises(InvalidField, match="longer than"):
        sound(data)


def test_a_cut_file_is_heard_as_far_as_it_goes() -> None:
    data = encoded("mp3", "libmp3lame", 3.0)
    assert 0.5 < len(sound(data[: len(data) // 2])) / RATE < 2


def test_nobody_decodes_for_whoever_has_left() -> None:
    looks = iter([True] * 20)
    samples = read_sound(io.BytesIO(wav(tone(30.0))), lambda: next(looks, False))
    assert len(samples) < 10 * RATE
