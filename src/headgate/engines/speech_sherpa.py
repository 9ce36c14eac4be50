"""Neural voices through sherpa-onnx: folders as its project publishes them (Kokoro, Matcha, VITS and Piper).

Which of the three a folder is, its files tell. Nothing of a folder is executed: ONNX graphs and tables.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sherpa_onnx

from headgate.core.errors import SettingsError
from headgate.engines.utterance import Utterance
from headgate.engines.voices import OPENAI_VOICES, Samples, Spoken

VOCODERS = ("vocos", "hifigan")
"""How files with the second half of a Matcha voice begin."""

NAMES_BYTES = 65_536
"""Longer than the names of a thousand speakers."""

_NAMES_KEY = b"\x0a\x0dspeaker_names\x12"


class Sherpa:
    """One model, loaded; implements `engines.voices.Synthesiser`."""

    name = "sherpa-onnx"

    def __init__(self, folder: Path, *, threads: int, names: Mapping[str, str]) -> None:
        """`names` are an operator's own names for the model's speakers, which have numbers.

        Raises SettingsError when it is no such model.
        """
        settings = sherpa_onnx.OfflineTtsConfig(
            model=sherpa_onnx.OfflineTtsModelConfig(**_parts(folder), num_threads=threads, provider="cpu"),
            max_num_sentences=1,
        )
        if not settings.validate():
            raise SettingsError(f"{folder}: sherpa-onnx cannot use it, see the lines above")
        try:
            self._model: Any = sherpa_onnx.OfflineTts(settings)
        except RuntimeError as error:
            raise SettingsError(f"{folder}: {error}") from None
        self.rate = int(self._model.sample_rate)
        self._speakers = max(1, int(self._model.num_speakers))
        self._told = _speaker_names(_graphs(folder)[0])[: self._speakers]
        self._names = dict(names)
        for name, voice in names.items():
            if self._number(voice) is None:
                raise SettingsError(
                    f"--voice {name}={voice}: the model's speakers are 0 to {self._speakers - 1}"
                )

    def find(self, name: str) -> str | None:
        """A speaker by number, by the model's name or by the operator's.

        OpenAI's voices are those of that name where the model has them (Kokoro's af_alloy), else the first
        ones in turn.
        """
        number = self._number(self._names.get(name, name))
        if number is None and name in OPENAI_VOICES:
            ends = [told.rpartition("_")[2] for told in self._told]
            number = ends.index(name) if name in ends else OPENAI_VOICES.index(name) % self._speakers
        return None if number is None else str(number)

    def known(self) -> str:
        numbers = "'0'" if self._speakers == 1 else f"'0' to '{self._speakers - 1}'"
        return ", ".join([*(f"'{name}'" for name in (*self._names, *self._told)), numbers])

    def tempo(self, speed: float) -> float:
        del speed  # it can do any
        return 1.0

    def speak(self, piece: Utterance, how: Spoken, wanted: Callable[[], bool]) -> Samples:
        def go_on(_samples: object, _progress: float) -> int:
            return 1 if wanted() else 0

        if not wanted():
            return np.zeros(0, np.int16)
        made = self._model.generate(piece.text, sid=int(how.voice), speed=how.speed, callback=go_on)
        floats = np.asarray(made.samples, np.float32)
        return np.asarray(np.clip(floats, -1, 1) * 32_767, np.int16)

    def _number(self, text: str) -> int | None:
        if text in self._told:
            return self._told.index(text)
        known = text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < self._speakers
        return int(text) if known else None


def _parts(folder: Path) -> dict[str, Any]:
    """The model's configuration for the library, by what lies in the folder."""
    tokens = folder / "tokens.txt"
    if not tokens.is_file():
        raise SettingsError(f"{folder}: no tokens.txt there; a folder of sherpa-onnx's has one")
    shared = {
        "tokens": str(tokens),
        "lexicon": ",".join(str(path) for path in sorted(folder.glob("lexicon*.txt"))),
        "data_dir": str(folder / "espeak-ng-data") if (folder / "espeak-ng-data").is_dir() else "",
    }
    graph, vocoder = _graphs(folder)
    model = str(graph)
    if (folder / "voices.bin").is_file():
        voices = str(folder / "voices.bin")
        return {"kokoro": sherpa_onnx.OfflineTtsKokoroModelConfig(model=model, voices=voices, **shared)}
    if vocoder is not None:
        acoustic = sherpa_onnx.OfflineTtsMatchaModelConfig(
            acoustic_model=model, vocoder=str(vocoder), **shared
        )
        return {"matcha": acoustic}
    return {"vits": sherpa_onnx.OfflineTtsVitsModelConfig(model=model, **shared)}


def _graphs(folder: Path) -> tuple[Path, Path | None]:
    """The model's graph, and the vocoder's where there is one; raises SettingsError."""
    # A smaller one beside the whole one is for smaller machines.
    graphs = sorted(folder.glob("*.onnx"), key=lambda path: ("int8" in path.name, path.name))
    vocoder = next((path for path in graphs if path.name.startswith(VOCODERS)), None)
    models = [path for path in graphs if path is not vocoder]
    if not models:
        raise SettingsError(f"{folder}: no *.onnx there")
    return models[0], vocoder


def _speaker_names(graph: Path) -> list[str]:
    """What the model calls its speakers, in their order; empty where it does not say.

    It stands among the properties at the file's end (protobuf: a key, then a length and a value). The library
    reads it and does not tell.
    """
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = data.rfind(_NAMES_KEY)
        if start < 0:
            return []
        start += len(_NAMES_KEY)
        length = shift = 0
        for byte in data[start : start + 5]:
            start += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        text = data[start : start + min(length, NAMES_BYTES)].decode("utf-8", errors="replace")
    return [name.strip() for name in text.split(",")]
