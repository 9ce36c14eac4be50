"""A transcript in each of OpenAI's forms: json, text, srt, vtt, verbose_json, a stream's events. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from headgate.core.estimate import estimate_tokens
from headgate.core.sse import event as sse_event
from headgate.engines.hearing import Segment
from headgate.engines.languages import NAMES

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")

TOKENS_A_MINUTE = 1000
"""What a minute of sound counts for: OpenAI's own rate, by its prices per minute and per token."""

CONTENT_TYPES = {"json": "application/json", "verbose_json": "application/json"}
"""Of the forms that are not plain text."""

_encode = msgspec.json.encode


class Transcript(msgspec.Struct):
    """All that was heard."""

    language: str
    duration: float
    segments: list[Segment]
    translated: bool = False
    prompt: str = ""

    @property
    def text(self) -> str:
        """The words of all segments."""
        return joined(self.segments)


def joined(segments: Sequence[Segment]) -> str:
    """Segments one after the other; those of languages without spaces bring none."""
    text = ""
    for segment in segments:
        said = segment.text
        text += said if said.startswith(" ") or not text else glue(text) + said
    return text.strip()


def glue(text: str) -> str:
    """What stands between a text and the next piece of it."""
    return "" if text and ord(text[-1]) > 0x2E7F else " "


def written(transcript: Transcript, form: str, granularities: Sequence[str]) -> bytes:
    """The reply's body in one of `FORMATS`."""
    match form:
        case "text":
            return (transcript.text + "\n").encode()
        case "srt":
            return _srt(transcript.segments).encode()
        case "vtt":
            return _vtt(transcript.segments).encode()
        case "verbose_json":
            return _encode(_verbose(transcript, granularities))
    return _encode({"text": transcript.text, "usage": _duration(transcript)})


def delta(text: str) -> bytes:
    """The event for a piece of text."""
    return sse_event(_encode({"type": "transcript.text.delta", "delta": text}))


def done(transcript: Transcript) -> bytes:
    """The event that ends a stream: the whole text, and usage in tokens, which this event has alone."""
    audio = round(transcript.duration * TOKENS_A_MINUTE / 60)
    prompt, output = estimate_tokens(transcript.prompt), estimate_tokens(transcript.text)
    usage = {
        "type": "tokens",
        "input_tokens": audio + prompt,
        "input_token_details": {"text_tokens": prompt, "audio_tokens": audio},
        "output_tokens": output,
        "total_tokens": audio + prompt + output,
    }
    return sse_event(_encode({"type": "transcript.text.done", "text": transcript.text, "usage": usage}))


def _duration(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def _verbose(transcript: Transcript, granularities: Sequence[str]) -> dict[str, Any]:
    language = "en" if transcript.translated else transcript.language
    told: dict[str, Any] = {
        "task": "translate" if transcript.translated else "transcribe",
        "language": NAMES.get(language, language),
        "duration": round(transcript.duration, 2),
        "text": transcript.text,
    }
    if "word" in granularities:
        told["words"] = [word for segment in transcript.segments for word in segment.words]
    if "segment" in granularities or not granularities:
        told["segments"] = [_segment(index, one) for index, one in enumerate(transcript.segments)]
    return {**told, "usage": _duration(transcript)}


def _segment(index: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": index,
        "seek": round(segment.start * 100),
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": segment.tokens,
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
    }


def _srt(segments: Sequence[Segment]) -> str:
    return "".join(
        f"{index}\n{_clock(one.start, ',')} --> {_clock(one.end, ',')}\n{one.text.strip()}\n\n"
        for index, one in enumerate(segments, 1)
    )


def _vtt(segments: Sequence[Segment]) -> str:
    cues = (
        # An arrow inside a cue would begin another.
        f"{_clock(one.start, '.')} --> {_clock(one.end, '.')}\n{one.text.strip().replace('-->', '->')}\n\n"
        for one in segments
    )
    return "WEBVTT\n\n" + "".join(cues)


def _clock(seconds: float, mark: str) -> str:
    millis = round(seconds * 1000)
    hours, rest = divmod(millis, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    whole, millis = divmod(rest, 1000)
    return f"{hours:02}:{minutes:02}:{whole:02}{mark}{millis:03}"
