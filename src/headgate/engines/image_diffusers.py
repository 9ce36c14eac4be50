"""Paints with any text-to-image model in diffusers' folder layout (Stable Diffusion, SDXL, turbo, Flux ...).

Only safetensors are loaded, and no code that came with a model is run. Must not know requests.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting, AutoPipelineForText2Image
from PIL import Image

from headgate.engines.canvas import Pixels, scaled, side_by_side
from headgate.engines.painting import Seen, Wish

STEPS, HASTY_STEPS = 28, 4
"""Of a model as most are, and of one that was distilled to need only a few."""

GUIDANCE, NO_GUIDANCE = 5.0, 0.0
"""How much the prompt counts; distilled models have that in them."""

HASTY = ("turbo", "lightning", "schnell", "lcm", "hyper")
"""What distilled models are called."""

STRENGTH = 0.75
"""How far an edit may go from its source, where 1 is to forget it."""

EIGHT = 8
"""Sides that these models paint are multiples of it."""


class _GivenUp(Exception):
    """Nobody waits for the picture any longer."""


class DiffusersPainter:
    """One model, loaded once, and painting in three ways."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        device = _device()
        if device == "cpu":
            torch.set_num_threads(threads)
        kind = torch.float32 if device == "cpu" else torch.bfloat16
        free: Any = AutoPipelineForText2Image.from_pretrained(
            folder, torch_dtype=kind, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
        self._free = free.to(device)
        self._free.set_progress_bar_config(disable=True)
        hasty = any(word in folder.absolute().name.lower() for word in HASTY)
        self.steps = HASTY_STEPS if hasty else STEPS
        self._guidance = NO_GUIDANCE if hasty else GUIDANCE

    def paint(self, wish: Wish) -> Generator[Seen]:
        """What is seen after each step: until the last, what is on the canvas as the model sees it."""
        canvas = _Canvas()
        thread = threading.Thread(target=self._run, args=(wish, canvas), name="diffusers", daemon=True)
        thread.start()
        try:
            while True:
                seen = canvas.seen.get()
                if isinstance(seen, BaseException):
                    raise seen
                if seen is None:
                    return
                yield seen
                canvas.go_on.put(True)
        finally:
            canvas.go_on.put(False)
            thread.join()

    def _run(self, wish: Wish, canvas: _Canvas) -> None:
        try:
            finished = self._painted(wish, canvas)
            canvas.seen.put(lambda: scaled(finished, (wish.width, wish.height)))
            canvas.go_on.get()
            canvas.seen.put(None)
        except _GivenUp:
            pass
        except BaseException as error:  # noqa: BLE001 -- whoever asked for the picture raises it
            canvas.seen.put(error)

    def _painted(self, wish: Wish, canvas: _Canvas) -> Pixels:
        shared = {
            "num_inference_steps": wish.steps or self.steps,
            "guidance_scale": self._guidance * wish.boldness,
            "generator": torch.Generator("cpu").manual_seed(wish.seed),
            "callback_on_step_end": partial(self._after_step, wish, canvas),
            "output_type": "np",
        }
        if not wish.sources:
            size = {"width": _rounded(wish.width), "height": _rounded(wish.height)}
            return _pixels(self._free(prompt=wish.prompt, **size, **shared))
        if wish.hole is not None:
            return self._filled(wish, shared)
        again: Any = AutoPipelineForImage2Image.from_pipe(self._free)
        prompt = "" if wish.variation else wish.prompt
        strength = min(1.0, STRENGTH * wish.boldness)
        painted = [
            _pixels(again(prompt=prompt, image=_source(source), strength=strength, **shared))
            for source in wish.sources
        ]
        height = painted[0].shape[0]
        return side_by_side([scaled(one, (one.shape[1] * height // one.shape[0], height)) for one in painted])

    def _filled(self, wish: Wish, shared: dict[str, Any]) -> Pixels:
        assert wish.hole is not None
        source = wish.sources[0]
        fill: Any = AutoPipelineForInpainting.from_pipe(self._free)
        mask = Image.fromarray(wish.hole.astype(np.uint8) * 255)
        size = (_rounded(source.shape[1]), _rounded(source.shape[0]))
        reply = fill(
            prompt=wish.prompt,
            image=_source(source),
            mask_image=mask.resize(size),
            width=size[0],
            height=size[1],
            strength=1.0,
            **shared,
        )
        painted = scaled(_pixels(reply), (source.shape[1], source.shape[0]))
        # What was not to be changed stays to the pixel.
        return np.where(wish.hole[:, :, None], painted, source)

    def _after_step(
        self, wish: Wish, canvas: _Canvas, pipe: Any, step: int, _moment: Any, seen: dict[str, Any]
    ) -> dict[str, Any]:
        if step + 1 < pipe.num_timesteps:
            canvas.seen.put(partial(_glimpse, pipe, seen["latents"], (wish.width, wish.height)))
            if not canvas.go_on.get():
                raise _GivenUp
        return seen


class _Canvas:
    """Between the thread that paints and the one that looks: one step, one look."""

    def __init__(self) -> None:
        self.seen: queue.SimpleQueue[Seen | BaseException | None] = queue.SimpleQueue()
        self.go_on: queue.SimpleQueue[bool] = queue.SimpleQueue()


def _glimpse(pipe: Any, latents: Any, size: tuple[int, int]) -> Pixels:
    """A rough look at latents, three channels as colours: to decode them takes as long as several steps."""
    if latents.ndim != 4:  # packed, as Flux does it
        side = round(latents.shape[1] ** 0.5)
        latents = latents[:, : side * side, :3].reshape(1, side, side, 3).permute(0, 3, 1, 2)
    rough = latents[0, :3].float().cpu().numpy().transpose(1, 2, 0)
    low, high = rough.min(), rough.max()
    return scaled(((rough - low) / max(1e-6, high - low) * 255).astype(np.uint8), size)


def _source(picture: Pixels) -> Image.Image:
    height, width = picture.shape[:2]
    return Image.fromarray(scaled(picture, (_rounded(width), _rounded(height))))


def _pixels(reply: Any) -> Pixels:
    painted: Pixels = np.round(np.clip(reply.images[0], 0, 1) * 255).astype(np.uint8)
    return painted


def _rounded(side: int) -> int:
    return max(EIGHT, side // EIGHT * EIGHT)


def _device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
