"""Teaches the reader what prompts wish, and the hand to draw it: from nothing, in a hole, over a picture.

The two meet only in the wishes: the hand learns from exact ones, the reader from words.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training import scenes
from training.image import prompts
from training.image.model import PROMPT_BYTES, Hand, HandShape, Reader
from training.image.prompts import Wish
from training.scenes import Pixels, Scene

REPORT_EVERY = 100
# The weights that are kept are a mean over about the last so many steps.
_MEMORY = 300


@dataclass(frozen=True)
class Plan:
    """How long and how fast both learn, and how many pictures or prompts a step has."""

    reader_steps: int = 1500
    steps: int = 12000
    seed: int = 20261124
    prompts: int = 64
    pictures: int = 32
    reader_rate: float = 0.001
    rate: float = 0.0015


def _paced(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 50, (1 - step / steps) / 0.5)


def prompt_bytes(texts: list[str]) -> Tensor:
    """[prompts, PROMPT_BYTES]: UTF-8, cut or filled with zeros."""
    return torch.tensor([list(text.encode()[:PROMPT_BYTES].ljust(PROMPT_BYTES, b"\0")) for text in texts])


def train_reader(plan: Plan) -> Reader:
    """A reader of wishes."""
    torch.manual_seed(plan.seed)
    chance, reader = random.Random(plan.seed), Reader(prompts.WIDTHS)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=plan.reader_rate, weight_decay=0.01)
    started, right = time.monotonic(), 0.0
    for step in range(plan.reader_steps):
        wishes = [prompts.draw_wish(chance, scenes.TRAINED_KINDS) for _ in range(plan.prompts)]
        texts = [prompts.prompt(chance, wish, chance.choice(("en", "en", "zh"))) for wish in wishes]
        truth = torch.tensor([wish.places() for wish in wishes])
        with torch.autocast("cpu", torch.bfloat16):
            said = reader.logits(prompt_bytes(texts))
        losses = [functional.cross_entropy(each.float(), truth[:, place]) for place, each in enumerate(said)]
        torch.stack(losses).sum().backward()
        optimizer.param_groups[0]["lr"] = plan.reader_rate * _paced(step, plan.reader_steps)
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found = torch.stack([each.argmax(-1) for each in said], dim=1)
        right += (found == truth).all(1).float().mean().item()
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            passed = time.monotonic() - started
            print(
                f"reader step {step + 1:5}  {passed:4.0f} s  read wholly {right / REPORT_EVERY:.1%}",
                flush=True,
            )
            right = 0.0
    return reader


def _hole(chance: random.Random, pixels: int) -> Pixels:
    """[pixels, pixels]: 0 in a box or an oval, 1 around it."""
    place = (np.arange(pixels) + 0.5) / pixels
    half_width, half_height = chance.uniform(0.15, 0.5), chance.uniform(0.15, 0.5)
    x, y = np.meshgrid((place - chance.random()) / half_width, (place - chance.random()) / half_height)
    far = np.maximum(abs(x), abs(y)) if chance.random() < 0.6 else np.hypot(x, y)
    return (far > 1).astype(np.float32)


def _part(chance: random.Random, scene: Scene, keep: float) -> Wish:
    """A wish for this scene that leaves some of it open."""
    said = [value if chance.random() < keep else None for value in scene.kind]
    size = scenes.size_word(scene) if chance.random() < keep / 2 else ""
    return Wish(said[0], said[1], said[2], size or None)


def _changed(chance: random.Random, scene: Scene) -> tuple[Scene, Wish]:
    """The scene with one or two things otherwise, and the wish for just that."""
    kind = chance.choice(("colour", "colour", "shape", "background", "background", "size", "both"))
    if kind == "size":
        size = chance.choice(prompts.SIZES)
        other = scenes.place_scene(chance, scene.kind, scenes.SMALL if size == "small" else scenes.LARGE)
        return other, Wish(size=size)
    change: dict[str, Any] = {}
    if kind in ("colour", "both"):
        change["colour"] = chance.choice(scenes.COLOUR_NAMES)
    if kind in ("shape", "both"):
        change["shape"] = chance.choice(scenes.SHAPE_NAMES)
    if kind == "background":
        change["background"] = chance.choice(scenes.COLOUR_NAMES)
    # People name what stays, too: "make the circle red".
    named = {"shape": scene.shape} if kind == "colour" and chance.random() < 0.4 else {}
    return dataclasses.replace(scene, **change), Wish(**(named | change))


def _task(chance: random.Random, pixels: int) -> tuple[Pixels, Pixels, Wish]:
    """A picture to be drawn, its source with a fourth channel that says where it is known, and the wish."""
    scene = scenes.draw_scene(chance, scenes.TRAINED_KINDS)
    source = np.zeros((pixels, pixels, 4), np.float32)
    what = chance.random()
    if what < 0.55:
        wish = _part(chance, scene, 0.9) if chance.random() < 0.9 else Wish()
        return scenes.render(scene, pixels, chance), source, wish
    if what < 0.7:
        target = scenes.render(scene, pixels, chance)
        known = _hole(chance, pixels)[..., None]
        source[..., :3], source[..., 3:] = (target * 2 - 1) * known, known
        return target, source, _part(chance, scene, 0.6)
    paints = scenes.paints(scene, chance)
    source[..., :3], source[..., 3] = scenes.render(scene, pixels, chance, paints) * 2 - 1, 1
    if what < 0.8:
        other = scenes.draw_scene(chance, [scene.kind])
        return scenes.render(other, pixels, chance, paints), source, Wish()
    other, wish = _changed(chance, scene)
    while other.colour == other.background:
        other, wish = _changed(chance, scene)
    fresh = scenes.paints(other, chance)
    kept = (
        paints[0] if other.colour == scene.colour else fresh[0],
        paints[1] if other.background == scene.background else fresh[1],
    )
    return scenes.render(other, pixels, chance, kept), source, wish


def tasks(chance: random.Random, count: int, pixels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [count, 3, p, p], sources [count, 4, p, p], wishes [count, wishes]."""
    made = [_task(chance, pixels) for _ in range(count)]
    pictures = torch.from_numpy(np.stack([picture for picture, _, _ in made])) * 2 - 1
    sources = torch.from_numpy(np.stack([source for _, source, _ in made]))
    wishes = torch.tensor([prompts.numbers(wish) for _, _, wish in made])
    return pictures.permute(0, 3, 1, 2).contiguous(), sources.permute(0, 3, 1, 2).contiguous(), wishes


def train_hand(plan: Plan) -> Hand:
    """A hand that draws; each step moves noise a little along the straight way to a picture."""
    torch.manual_seed(plan.seed)
    chance, shape = random.Random(plan.seed), HandShape(sum(prompts.WIDTHS))
    hand = Hand(shape).to(memory_format=torch.channels_last)
    kept = copy.deepcopy(hand)
    optimizer = torch.optim.AdamW(hand.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
    started, losses = time.monotonic(), 0.0
    for step in range(plan.steps):
        pictures, sources, wishes = tasks(chance, plan.pictures, shape.pixels)
        moment, noise = torch.rand(plan.pictures), torch.randn_like(pictures)
        share = moment[:, None, None, None]
        with torch.autocast("cpu", torch.bfloat16):
            way = hand((1 - share) * noise + share * pictures, sources, moment, wishes)
        loss = functional.mse_loss(way.float(), pictures - noise)
        loss.backward()
        optimizer.param_groups[0]["lr"] = plan.rate * _paced(step, plan.steps)
        nn.utils.clip_grad_norm_(hand.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            pace = max(1 / _MEMORY, 1 / (step + 1))
            for mean, now in zip(kept.parameters(), hand.parameters(), strict=True):
                mean.lerp_(now, pace)
        losses += loss.item()
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            passed = time.monotonic() - started
            print(f"hand step {step + 1:5}  {passed:5.0f} s  loss {losses / REPORT_EVERY:.4f}", flush=True)
            losses = 0.0
    return kept
