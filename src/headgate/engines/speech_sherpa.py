"""Neural voices through sherpa-onnx: folders as its project publishes them (Kokoro, Matcha, VITS and Piper).

Which of the three a folder is, its files tell. Nothing of a folder is executed: ONNX graphs and tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import sherpa_onnx

from headgate.core.errors import SettingsError
from headgate.engines.utterance import Utterance
from headgate.engines.voices import OPENAI_VOICES, Samples, Spoken


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
        self._names = dict(names)
        for name, voice in names.items():
            if self._number(voice) is None:
                raise SettingsError(
                    f"--voice {name}={voice}: the model's speakers are 0 to {self._speakers - 1}"
                )

    def find(self, name: str) -> str | None:
        """A speaker by number or by the operator's name; OpenAI's voices are the first ones in turn."""
        name = self._names.get(name, name)
        if name in OPENAI_VOICES:
            return str(OPENAI_VOICES.index(name) % self._speakers)
        number = self._number(name)
        return None if number is None else str(number)

    def known(self) -> str:
        numbers = "'0'" if self._speakers == 1 else f"'0' to '{self._speakers - 1}'"
        return ", ".join([*(f"'{name}'" for name in self._names), numbers])

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
    # A smaller one beside the whole one is for smaller machines.
    graphs = sorted(folder.glob("*.onnx"), key=lambda path: ("int8" in path.name, path.name))
    vocoder = next((path for path in graphs if path.name.startswith(("vocos", "hifigan"))), None)
    models = [path for path in graphs if path is not vocoder]
    if not models:
        raise SettingsError(f"{folder}: no *.onnx there")
    model = str(models[0])
    if (folder / "voices.bin").is_file():
        voices = str(folder / "voices.bin")
        return {"kokoro": sherpa_onnx.OfflineTtsKokoroModelConfig(model=model, voices=voices, **shared)}
    if vocoder is not None:
        acoustic = sherpa_onnx.OfflineTtsMatchaModelConfig(
            acoustic_model=model, vocoder=str(vocoder), **shared
        )
        return {"matcha": acoustic}
    return {"vits": sherpa_onnx.OfflineTtsVitsModelConfig(model=model, **shared)}
