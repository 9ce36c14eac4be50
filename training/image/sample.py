"""Draws with the exported files: the sampler as README.md describes it, with onnxruntime and numpy alone.

It must not know torch, nor how the networks were trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Pixels = NDArray[np.float32]

PROMPT_BYTES, PIXELS = 128, 64
STEPS = 20
# How much more than one the wishes count against a picture without wishes.
GUIDANCE = 2.5


def prompt_bytes(texts: list[str]) -> NDArray[np.int64]:
    """[prompts, PROMPT_BYTES]: UTF-8, cut or filled with zeros."""
    rows = [list(text.encode()[:PROMPT_BYTES].ljust(PROMPT_BYTES, b"\0")) for text in texts]
    return np.array(rows, np.int64)


def known_source(picture: Pixels | None, known: Pixels | None = None) -> Pixels:
    """[4, p, p] from pixels [p, p, 3] between 0 and 1 and where they are known [p, p]; zeros without any."""
    source = np.zeros((4, PIXELS, PIXELS), np.float32)
    if picture is not None:
        source[3] = 1 if known is None else known
        source[:3] = (picture.transpose(2, 0, 1) * 2 - 1) * source[3]
    return source


class Artist:
    """Both networks, loaded."""

    def __init__(self, reader: Path, hand: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.reader = onnxruntime.InferenceSession(reader, options, providers=["CPUExecutionProvider"])
        self.hand = onnxruntime.InferenceSession(hand, options, providers=["CPUExecutionProvider"])

    def wishes(self, texts: list[str]) -> Pixels:
        """[prompts, wishes]."""
        read: Any = self.reader.run(["wishes"], {"prompts": prompt_bytes(texts)})[0]
        return read

    def draw(
        self, prompts: list[str], sources: Pixels, seed: int, steps: int = STEPS, guidance: float = GUIDANCE
    ) -> Pixels:
        """[n, p, p, 3] between 0 and 1, a picture for each prompt and source [n, 4, p, p]."""
        count = len(prompts)
        generator = np.random.default_rng(seed)
        picture = generator.standard_normal((count, 3, PIXELS, PIXELS), np.float32)
        guided = guidance != 1.0
        wishes = self.wishes(prompts + [""] * count if guided else prompts)
        sources = np.concatenate([sources, sources]) if guided else sources
        for step in range(steps):
            twice = np.concatenate([picture, picture]) if guided else picture
            moment = np.full(len(twice), step / steps, np.float32)
            inputs = {"picture": twice, "source": sources, "moment": moment, "wishes": wishes}
            way: Any = self.hand.run(["way"], inputs)[0]
            if guided:
                way = way[count:] + guidance * (way[:count] - way[count:])
            picture = picture + way / steps
        return np.clip((picture.transpose(0, 2, 3, 1) + 1) / 2, 0, 1)
