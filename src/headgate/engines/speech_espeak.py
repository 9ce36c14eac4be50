"""eSpeak NG, through ctypes: about a hundred languages, understandable rather than beautiful. GPL-3, so it is
loaded into this process alone. Not thread-safe: one per process, one thread.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import espeakng_loader
import numpy as np

from headgate.core.errors import SettingsError
from headgate.engines.utterance import Utterance
from headgate.engines.voices import Samples, Spoken

# From espeak-ng's speak_lib.h.
SYNCHRONOUS, DONT_EXIT, CHARACTERS_UTF8 = 2, 0x8000, 1
RATE, VOLUME, PITCH, RANGE = 1, 2, 3, 4
DEFAULTS = {RATE: 175, VOLUME: 100, PITCH: 50, RANGE: 50}

SLOWEST, FASTEST = 80, 450
"""Words a minute that it can do; the rest of a speed is done to the sound."""

BUFFER_MS = 60
"""Sound between two looks whether anybody still wants it."""

OPENAI = {
    "alloy": "f3", "ash": "m3", "ballad": "m2", "coral": "f1", "echo": "m1", "fable": "m4", "onyx": "m8",
    "nova": "f2", "sage": "f4", "shimmer": "f5", "verse": "m5", "marin": "Annie", "cedar": "m7",
}  # fmt: skip
"""Variants that differ as much as its variants do."""

LANGUAGES = {"en": "en-us", "zh": "cmn"}
"""Where its name for a language is another."""

_VOICE = re.compile(r"(?P<language>[a-z]{2,3}(?:-[a-z0-9-]{1,20})?)?(?:\+(?P<variant>[A-Za-z0-9_-]{1,30}))?")

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Espeak:
    """The library, loaded; implements `engines.voices.Synthesiser`."""

    name = "espeak-ng"

    def __init__(self) -> None:
        data = Path(espeakng_loader.get_data_path())
        try:
            self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise SettingsError(f"eSpeak NG cannot be loaded: {error}") from None
        self.rate = self._library.espeak_Initialize(SYNCHRONOUS, BUFFER_MS, str(data).encode(), DONT_EXIT)
        if self.rate <= 0:
            raise SettingsError(f"eSpeak NG cannot read its data in {data}")
        self._variants = {path.name for path in (data / "voices" / "!v").iterdir()}
        self._languages = _languages(data)
        self._parts: list[Samples] = []
        self._wanted: Callable[[], bool] = bool
        self._callback = _CALLBACK(self._take)  # kept: the library holds no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def find(self, name: str) -> str | None:
        """`alloy`, `de`, `en-gb+f2`, `+whisper`; without a language each piece is spoken in its own."""
        if name in OPENAI:
            return f"+{OPENAI[name]}"
        found = _VOICE.fullmatch(name)
        if not name or found is None:
            return None
        language, variant = found["language"], found["variant"]
        if (language and language not in self._languages) or (variant and variant not in self._variants):
            return None
        return name

    def known(self) -> str:
        return "a language such as 'de' or 'en-gb', a variant such as '+f2', or both, 'fr+m3'"

    def tempo(self, speed: float) -> float:
        return speed * DEFAULTS[RATE] / self._words_a_minute(speed)

    def speak(self, piece: Utterance, how: Spoken, wanted: Callable[[], bool]) -> Samples:
        language, plus, variant = how.voice.partition("+")
        language = language or LANGUAGES.get(piece.language, piece.language)
        self._library.espeak_SetVoiceByName(f"{language}{plus}{variant}".encode())
        for parameter, value in (
            (RATE, self._words_a_minute(how.speed)),
            (VOLUME, DEFAULTS[VOLUME] * how.manner.get("volume", 1.0)),
            (PITCH, DEFAULTS[PITCH] * how.manner.get("pitch", 1.0)),
            (RANGE, DEFAULTS[RANGE] * how.manner.get("range", 1.0)),
        ):
            self._library.espeak_SetParameter(parameter, round(value), 0)
        text = piece.text.replace("\0", " ").encode() + b"\0"
        self._parts, self._wanted = [], wanted
        self._library.espeak_Synth(text, len(text), 0, 1, 0, CHARACTERS_UTF8, None, None)
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.int16)

    def _words_a_minute(self, speed: float) -> int:
        return round(min(max(DEFAULTS[RATE] * speed, SLOWEST), FASTEST))

    def _take(self, samples: Any, count: int, _events: object) -> int:
        if count > 0 and samples:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0 if self._wanted() else 1


def _languages(data: Path) -> set[str]:
    """The names in its files of languages: `language fr-be 8`."""
    names: set[str] = set()
    for path in (data / "lang").rglob("*"):
        if path.is_file():
            names |= set(re.findall(r"(?m)^language\s+(\S+)", path.read_text("utf-8", errors="replace")))
    return names
