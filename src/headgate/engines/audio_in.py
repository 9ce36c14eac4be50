"""Sound as it was uploaded, in whatever format its bytes are, to 16 kHz mono samples, through PyAV.

Names and types that came with a file say nothing. Must not know who listens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any

import av
import numpy as np

from headgate.core import violation
from headgate.core.errors import InvalidField
from headgate.engines.hearing import RATE, Sound

MOST_SECONDS = 7200.0
"""Of one file: two hours are 230 MB of samples. 25 MB of a good codec could hold days of silence."""

LEAST_SECONDS = 0.1
"""What OpenAI asks for; nothing can be said in less."""

PROBE_BYTES = 1_048_576
"""Looked at before the format is known; the library's own limit is five times that."""

CONTAINERS = "aac,ac3,aiff,amr,asf,au,caf,flac,matroska,webm,mov,mp3,mpeg,mpegts,ogg,wav,w64"
"""What is listened to. Playlists and the like are none: they would open other files."""


def read_sound(file: IO[bytes], wanted: Callable[[], bool]) -> Sound:
    """The samples of a file; raises InvalidField for what is no sound, too short or too long."""
    try:
        container = av.open(
            file, "r", metadata_errors="replace",
            options={"probesize": str(PROBE_BYTES), "format_whitelist": CONTAINERS, "protocol_whitelist": ""},
        )  # fmt: skip
    except (av.FFmpegError, ValueError, UnicodeError):
        raise _unreadable() from None
    with container:
        if not container.streams.audio:
            raise violation.wrong_value("file", "Invalid file 'file': there is no sound in it.")
        try:
            pieces, samples = _decoded(container, wanted)
        except av.FFmpegError:
            raise _unreadable() from None
    if samples < LEAST_SECONDS * RATE:
        raise InvalidField(
            f"Audio file is too short. Minimum audio length is {LEAST_SECONDS} seconds.",
            param="file",
            code="audio_too_short",
        )
    return np.concatenate(pieces)


def _decoded(container: Any, wanted: Callable[[], bool]) -> tuple[list[Sound], int]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    pieces: list[Sound] = []
    samples = 0
    broken = 0
    for packet in container.demux(container.streams.audio[0]):
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            broken += 1  # one bad frame is a click; a file of nothing else is none
            continue
        for frame in frames:
            for made in resampler.resample(frame):
                pieces.append(made.to_ndarray()[0])
                samples += len(pieces[-1])
        if samples > MOST_SECONDS * RATE:
            raise violation.wrong_value(
                "file", f"Invalid file 'file': the audio is longer than {MOST_SECONDS:g} seconds."
            )
        if not wanted():
            break
    if broken and not samples:
        raise _unreadable()
    if samples:
        for made in resampler.resample(None):
            pieces.append(made.to_ndarray()[0])
            samples += len(pieces[-1])
    return pieces, samples


def _unreadable() -> InvalidField:
    return violation.wrong_value(
        "file", "Invalid file 'file': the audio file might be corrupted, or its format is not supported."
    )
