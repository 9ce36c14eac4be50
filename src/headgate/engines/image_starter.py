"""Paints with starter-image through onnxruntime: flow matching over 64 x 64 pixels, steered by the prompt.

The contract of the two files is in training/image/README.md. Must not know requests.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headgate.engines.canvas import Pixels, cut_out, fitted, scaled, shrunk, side_by_side, squared
from headgate.engines.painting import Seen, Wish

PROMPT_BYTES, SIDE = 128, 64
STEPS = 20

FREE_GUIDANCE, EDIT_GUIDANCE, NO_GUIDANCE = 2.5, 1.5, 1.0
"""How much the prompt counts against a picture without one: painted freely, changed, or like another."""

Values = NDArray[np.float32]


class StarterPainter:
    """Both networks, loaded."""

    steps = STEPS

    def __init__(self, hand: Path, reader: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._hand = onnxruntime.InferenceSession(hand, options, providers=["CPUExecutionProvider"])
        self._reader = onnxruntime.InferenceSession(reader, options, providers=["CPUExecutionProvider"])

    def paint(self, wish: Wish) -> Generator[Seen]:
        """What is seen after each step."""
        count = max(1, len(wish.sources))
        masked = wish.hole is not None
        guidance = EDIT_GUIDANCE if wish.sources and not masked else FREE_GUIDANCE
        guidance = NO_GUIDANCE if wish.variation else 1 + (guidance - 1) * wish.boldness
        chance = np.random.default_rng(wish.seed)
        picture = chance.standard_normal((count, 3, SIDE, SIDE), np.float32)
        wishes = self._wishes("" if wish.variation else wish.prompt)
        sources = self._sources(wish, count)
        steps = wish.steps or STEPS
        for step in range(steps):
            moment = step / steps
            way = self._way(picture, sources, moment, wishes, guidance)
            yield partial(self._shown, picture + np.float32(1 - moment) * way, wish)
            picture = picture + way / np.float32(steps)

    def _way(
        self, picture: Values, sources: Values, moment: float, wishes: Values, guidance: float
    ) -> Values:
        count = len(picture)
        guided = guidance != NO_GUIDANCE
        twice = 2 if guided else 1
        way: Values = self._hand.run(
            ["way"],
            {
                "picture": np.concatenate([picture] * twice),
                "source": np.concatenate([sources] * twice),
                "moment": np.full(count * twice, moment, np.float32),
                "wishes": np.repeat(wishes[:twice], count, axis=0),
            },
        )[0]
        return way[count:] + guidance * (way[:count] - way[count:]) if guided else way

    def _wishes(self, prompt: str) -> Values:
        """What is wished, and what it is to wish nothing: [2, wishes]."""
        rows = [text.encode()[:PROMPT_BYTES].ljust(PROMPT_BYTES, b"\0") for text in (prompt, "")]
        read: Values = self._reader.run(
            ["wishes"], {"prompts": np.array([[*row] for row in rows], np.int64)}
        )[0]
        return read

    def _sources(self, wish: Wish, count: int) -> Values:
        """[count, 4, side, side]: pixels from -1 to 1 where they are known, and where that is."""
        sources = np.zeros((count, 4, SIDE, SIDE), np.float32)
        for index, source in enumerate(wish.sources):
            known = np.ones((SIDE, SIDE), np.float32)
            if index == 0 and wish.hole is not None:
                known -= shrunk(squared(wish.hole.astype(np.uint8)).astype(np.bool_), (SIDE, SIDE))
            small = scaled(squared(source), (SIDE, SIDE)).astype(np.float32).transpose(2, 0, 1)
            sources[index, 3] = known
            sources[index, :3] = (small / 127.5 - 1) * known
        return sources

    def _shown(self, picture: Values, wish: Wish) -> Pixels:
        squares = np.round((np.clip(picture, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
        size = (wish.width, wish.height)
        if not wish.sources:
            return fitted(squares[0], size)
        finished = []
        for index, (square, source) in enumerate(zip(squares, wish.sources, strict=True)):
            whole = cut_out(square, (source.shape[1], source.shape[0]))
            if index == 0 and wish.hole is not None:
                # What was not to be changed stays to the pixel.
                whole = np.where(wish.hole[:, :, None], whole, source)
            finished.append(whole)
        height = finished[0].shape[0]
        level = [scaled(one, (max(1, one.shape[1] * height // one.shape[0]), height)) for one in finished]
        return scaled(side_by_side(level), size)
