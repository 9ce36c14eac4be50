"""What a painter is asked for and what it gives; each kind of model is one. Nothing here paints."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

import msgspec

from headgate.engines.canvas import Hole, Pixels

Seen = Callable[[], Pixels]
"""What is on the canvas, at the size wished for: worked out only for those who want to look."""


class Wish(msgspec.Struct, frozen=True):
    """One picture to be painted."""

    prompt: str
    width: int
    height: int
    seed: int
    steps: int | None = None
    """None for the model's own number."""
    boldness: float = 1.0
    """How much the prompt counts, of the model's own measure."""
    sources: tuple[Pixels, ...] = ()
    """The pictures that are to be changed."""
    hole: Hole | None = None
    """Where the first of them is to be painted; all of it without one."""
    variation: bool = False
    """Another like the source, without a prompt."""


class Painter(Protocol):
    """A model that paints."""

    steps: int
    """Its own number of steps, at `quality: auto`."""

    def paint(self, wish: Wish) -> Generator[Seen]:
        """What is seen after each step; the last is the picture.

        Runs in a thread of its own, a step at a time; whoever gives up closes it.
        """
        ...
