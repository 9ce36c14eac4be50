"""Files of sound, and of what is none, for tests: made here, kept nowhere."""

from __future__ import annotations

import io
import struct
import wave
from fractions import Fraction
from typing import Any

import av
import numpy as np


def tone(seconds: float, rate: int = 16_000) -> bytes:
    """Samples of a tone, 16-bit mono."""
    return bytes((np.sin(np.arange(int(seconds * rate)) * 0.05) * 9000).astype("<i2").tobytes())


def wav(samples: bytes, rate: int = 16_000) -> bytes:
    """A WAV file of 16-bit mono samples."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue()


def encoded(
    container: str, codec: str, seconds: float = 1.0, rate: int = 48_000, layout: str = "stereo"
) -> bytes:
    """A tone in another format."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(
            np.frombuffer(tone(seconds, rate), np.int16)[None, :], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
        for made in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(made))
        file.mux(stream.encode(None))
    return out.getvalue()


def film() -> bytes:
    """A video without a sound."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream: Any = file.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for number in range(5):
            picture = np.full((32, 32, 3), number * 40, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    return out.getvalue()


def endless_flac(seconds: int) -> bytes:
    """Silence, very well packed."""
    out = io.BytesIO()
    rate = 8000
    with av.open(out, "w", format="flac") as file:
        stream: Any = file.add_stream("flac", rate=rate, layout="mono")
        silence = np.zeros((1, rate * 10), np.int16)
        for number in range(seconds // 10):
            frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, number * rate * 10, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(13) + bytes(500)
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/passwd\n"
