"""Whisper models through faster-whisper (CTranslate2): many languages, translation into English, a VAD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from faster_whisper import WhisperModel

from headgate.core import violation
from headgate.core.errors import SettingsError
from headgate.engines.hearing import Heard, Segment, Sound, Wish, Word

VAD = {
    "threshold": "threshold",
    "silence_duration_ms": "min_silence_duration_ms",
    "prefix_padding_ms": "speech_pad_ms",
}
"""OpenAI's names, and the library's."""

LADDER = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Temperatures tried in turn until a segment is good, which is what 0 means at OpenAI."""


class Whisper:
    """One model, loaded; implements `engines.hearing.Recogniser`."""

    ignores: tuple[str, ...] = ()

    def __init__(self, folder: Path, *, threads: int) -> None:
        """Raises SettingsError when it is no such model."""
        for name in ("model.bin", "tokenizer.json"):
            if not (folder / name).is_file():
                # Without a tokenizer the library would ask a hub for one.
                raise SettingsError(f"{folder}: no {name} there; a folder of faster-whisper's has one")
        try:
            self._model: Any = WhisperModel(str(folder), cpu_threads=threads, local_files_only=True)
        except (RuntimeError, ValueError, OSError) as error:
            raise SettingsError(f"{folder}: {error}") from None
        self.languages: tuple[str, ...] | None = None if self._model.model.is_multilingual else ("en",)
        self._known: list[str] = list(self._model.supported_languages)

    def hear(self, sound: Sound, wish: Wish, wanted: Callable[[], bool]) -> Heard:
        if wish.language is not None and wish.language not in self._known:
            raise violation.wrong_value(
                "language",
                f"Invalid language '{violation.quote(wish.language)}'. Language parameter must be specified "
                "in ISO-639-1 format, and the model has to know it.",
            )
        segments, info = self._model.transcribe(
            sound.astype(np.float32) / 32_768,
            language=wish.language,
            task="translate" if wish.translate else "transcribe",
            temperature=wish.temperature or LADDER,
            initial_prompt=wish.prompt or None,
            hotwords=", ".join(wish.keywords) or None,
            word_timestamps=wish.words,
            vad_filter=wish.vad is not None,
            vad_parameters={VAD[name]: value for name, value in (wish.vad or {}).items()} or None,
        )
        return Heard(str(info.language), self._told(segments, wanted))

    def _told(self, segments: Iterator[Any], wanted: Callable[[], bool]) -> Iterator[Segment]:
        for found in segments:
            if not wanted():
                return
            yield Segment(
                start=round(found.start, 2),
                end=round(found.end, 2),
                text=found.text,
                words=[
                    Word(word.word.strip(), round(float(word.start), 2), round(float(word.end), 2))
                    for word in found.words or ()
                ],
                tokens=list(found.tokens),
                temperature=float(found.temperature or 0.0),
                avg_logprob=float(found.avg_logprob),
                compression_ratio=float(found.compression_ratio),
                no_speech_prob=float(found.no_speech_prob),
            )
