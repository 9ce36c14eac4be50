"""Sound on its way out: 16-bit mono samples into each of OpenAI's six formats, as they come, through PyAV.

Nothing is written that would need to go back: every format here can be sent while it is being made.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import Any

import av
import msgspec
import numpy as np
from av.filter import Graph
from numpy.typing import NDArray

Samples = NDArray[np.int16]

PCM_RATE = 24_000
"""Hertz of OpenAI's `pcm`, and of everything here: a voice has little above 12 kHz."""

UNKNOWN_LENGTH = 0xFFFF_FFFF
"""In a WAV header that is sent before the end is known; players read on to the end then."""


class Format(msgspec.Struct, frozen=True):
    """How one format is written."""

    content_type: str
    container: str = ""
    codec: str = ""
    bit_rate: int | None = None
    """Bits a second for one voice; without it opus came out at 105,000."""
    options: dict[str, str] = {}


FORMATS = {
    "mp3": Format("audio/mpeg", "mp3", "libmp3lame", 64_000, {"write_xing": "0", "id3v2_version": "0"}),
    # Pages of three frames: by default a second would be held back, and smaller ones are mostly headers.
    "opus": Format("audio/ogg", "ogg", "libopus", 32_000, {"page_duration": "60000"}),
    "aac": Format("audio/aac", "adts", "aac", 64_000),
    "flac": Format("audio/flac", "flac", "flac"),
    "wav": Format("audio/wav"),
    "pcm": Format("audio/pcm"),
}


class AudioOut:
    """One sound, fed piece by piece. Not for two threads at once."""

    def __init__(self, format_name: str, rate: int, tempo: float = 1.0) -> None:
        """`rate` is that of the samples that will come; `tempo` makes the sound faster without its pitch."""
        self._format = FORMATS[format_name]
        self._rate = rate
        self._written = _Written()
        self._time = 0
        self.seconds = 0.0
        """Of sound that was made."""
        self._graph = _tempo_graph(rate, tempo) if tempo != 1.0 else None
        self._container: Any = None
        self._stream: Any = None
        if self._format.container:
            self._container = av.open(
                self._written, "w", format=self._format.container, options=dict(self._format.options),
                container_options={"flush_packets": "1"}, buffer_size=4096,
            )  # fmt: skip
            self._stream = self._container.add_stream(self._format.codec, rate=PCM_RATE, layout="mono")
            if self._format.bit_rate:
                self._stream.bit_rate = self._format.bit_rate
            sample_format = self._stream.codec_context.format
        else:
            sample_format = "s16"
            if format_name == "wav":
                self._written.write(_wav_header())
        self._resampler = av.AudioResampler(format=sample_format, layout="mono", rate=PCM_RATE)

    def feed(self, samples: Samples) -> bytes:
        """Takes samples and returns what can be sent."""
        if len(samples):
            frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = self._time
            self._time += len(samples)
            for stretched in self._stretch(frame):
                self._write(stretched)
        return self._written.take()

    def finish(self) -> bytes:
        """The rest."""
        if self._time and self._graph is not None:
            self._graph.push(None)
            for frame in _pulled(self._graph):
                self._write(frame)
        if self._time:
            self._write(None)
        if self._container is not None:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
        return self._written.take()

    def _stretch(self, frame: Any) -> list[Any]:
        if self._graph is None:
            return [frame]
        self._graph.push(frame)
        return _pulled(self._graph)

    def _write(self, frame: Any) -> None:
        for made in self._resampler.resample(frame):
            self.seconds += made.samples / PCM_RATE
            if self._container is None:
                self._written.write(made.to_ndarray().astype("<i2").tobytes())
            else:
                for packet in self._stream.encode(made):
                    self._container.mux(packet)


class _Written:
    """What PyAV writes to: it cannot go back, so no format tries to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _wav_header() -> bytes:
    """16-bit mono of a length that nobody knows yet."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", UNKNOWN_LENGTH, b"WAVE", b"fmt ", 16, 1, 1, PCM_RATE, PCM_RATE * 2, 2, 16,
        b"data", UNKNOWN_LENGTH,
    )  # fmt: skip


def _tempo_graph(rate: int, tempo: float) -> Graph:
    graph = Graph()
    nodes = [graph.add_abuffer(format="s16", sample_rate=rate, layout="mono", time_base=Fraction(1, rate))]
    while tempo < 0.5:  # one step of the filter does no more
        nodes.append(graph.add("atempo", "0.5"))
        tempo /= 0.5
    nodes += [graph.add("atempo", f"{tempo:.6f}"), graph.add("abuffersink")]
    graph.link_nodes(*nodes)
    graph.configure()
    return graph


def _pulled(graph: Graph) -> list[Any]:
    frames: list[Any] = []
    while True:
        try:
            frames.append(graph.pull())
        except (av.BlockingIOError, av.EOFError):
            return frames
