"""What speaks: the shape of a synthesiser, and OpenAI's names for voices. Knows no particular one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from headgate.core import violation
from headgate.engines.utterance import Utterance

OPENAI_VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin",
    "cedar",
)  # fmt: skip
"""Names that every client may use, whatever speaks."""

Samples = NDArray[np.int16]


class Spoken(msgspec.Struct, frozen=True):
    """How a piece is to be spoken."""

    voice: str
    """A voice of the synthesiser's own."""
    speed: float
    """1 is the voice's own."""
    manner: dict[str, float] = {}
    """What instructions came to: `pitch`, `range`, `volume`, as factors; synthesisers take what they can."""


class Synthesiser(Protocol):
    """One way of making voices. Called from one thread."""

    name: str
    """As told in a reply's header."""
    rate: int
    """Hertz of its samples."""

    def find(self, name: str) -> str | None:
        """Its own voice for a name that a client may use, OpenAI's among them; None where it has none."""
        ...

    def known(self) -> str:
        """Its own voices in words, for whoever asked for another."""
        ...

    def tempo(self, speed: float) -> float:
        """What of a speed it leaves to be done to the sound."""
        ...

    def speak(self, piece: Utterance, how: Spoken, wanted: Callable[[], bool]) -> Samples:
        """The sound of a piece; may end early when it is not wanted any more."""
        ...


def choose(synthesisers: list[Synthesiser], name: str) -> tuple[Synthesiser, str]:
    """Who speaks with a voice of this name, and its own name there; raises InvalidField."""
    for synthesiser in synthesisers:
        voice = synthesiser.find(name)
        if voice is not None:
            return synthesiser, voice
    listed = ", ".join(f"'{name}'" for name in OPENAI_VOICES)
    raise violation.wrong_value(
        "voice",
        f"Invalid value: '{violation.quote(name)}'. Supported values are: {listed}, and "
        f"{'; '.join(one.known() for one in synthesisers)}.",
    )
