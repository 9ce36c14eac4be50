"""flite, through ctypes, where the system has it (Debian's libflite1): five English voices by name."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from headgate.engines.utterance import Utterance
from headgate.engines.voices import Samples, Spoken

VOICES = ("rms", "slt", "awb", "kal16")
"""Two men and a woman of clear speech, and the smallest there is. All speak at 16 kHz."""

RATE = 16_000


class _Wave(ctypes.Structure):
    """cst_wave."""

    _fields_ = (
        ("type", ctypes.c_char_p), ("sample_rate", ctypes.c_int), ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int), ("samples", ctypes.POINTER(ctypes.c_short)),
    )  # fmt: skip


class _Voice(ctypes.Structure):
    """The beginning of cst_voice."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


class Flite:
    """The library, loaded; implements `engines.voices.Synthesiser`."""

    name = "flite"
    rate = RATE

    def __init__(self) -> None:
        """Raises OSError where the system does not have it."""
        # Its libraries name each other only by symbols.
        self._library: Any = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        for name in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        self._library.flite_init()
        self._library.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
        self._library.flite_text_to_wave.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
        self._library.delete_wave.argtypes = (ctypes.POINTER(_Wave),)
        self._library.flite_feat_set_float.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float)
        self._voices = {name: _registered(name) for name in VOICES}

    def find(self, name: str) -> str | None:
        return name if name in self._voices else None

    def known(self) -> str:
        return ", ".join(f"'{name}'" for name in self._voices)

    def tempo(self, speed: float) -> float:
        del speed  # it can do any
        return 1.0

    def speak(self, piece: Utterance, how: Spoken, wanted: Callable[[], bool]) -> Samples:
        if not wanted():
            return np.zeros(0, np.int16)
        voice = self._voices[how.voice]
        features = ctypes.cast(voice, ctypes.POINTER(_Voice)).contents.features
        self._library.flite_feat_set_float(features, b"duration_stretch", 1 / how.speed)
        # It reads letters of English; of others it would read the bytes.
        text = piece.text.encode("ascii", errors="ignore").replace(b"\0", b" ")
        wave = self._library.flite_text_to_wave(text, voice)
        try:
            found = wave.contents
            return np.ctypeslib.as_array(found.samples, (found.num_samples,)).copy()
        finally:
            self._library.delete_wave(wave)


def _registered(name: str) -> int:
    library: Any = ctypes.CDLL(f"libflite_cmu_us_{name}.so.1")
    register = getattr(library, f"register_cmu_us_{name}")
    register.restype = ctypes.c_void_p
    register.argtypes = (ctypes.c_void_p,)
    return int(register(None))
