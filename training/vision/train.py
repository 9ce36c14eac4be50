"""Teaches the eye to see, then eye and language model to talk about it; plain talk goes on beside.

First the eye alone names what is drawn; then the language model reads what the eye says.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training import scenes
from training.chat import dataset, train
from training.chat.conversation import Message, segments
from training.chat.model import SEEN, Llama
from training.chat.source import Source
from training.chat.vocabulary import MARKERS, PADDING, encode
from training.scenes import Scene
from training.vision import pictures, questions
from training.vision.model import Eye, EyeShape

REPORT_EVERY = 50


@dataclass(frozen=True)
class Plan:
    """How long and how fast eye and model learn; a step sees `batch` pictures or so many conversations."""

    eye_steps: int = 1500
    steps: int = 1500
    seed: int = 20261123
    batch: int = 64
    conversations: int = 16
    eye_rate: float = 0.02
    # About where the rates of learning to talk were left.
    rate: float = 0.012


def _paced(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / 30, (1 - step / steps) / 0.7)


def photographs(shown: list[Scene], pixels: int, chance: random.Random) -> tuple[Tensor, Tensor]:
    """[pictures, 3, pixels, pixels] between -1 and 1, and where their shapes are, at half the size."""
    taken = [pictures.photograph(scene, pixels, chance) for scene in shown]
    seen = torch.stack([torch.from_numpy(seen.copy()) for seen, _ in taken])
    covered = torch.stack([torch.from_numpy(covered.copy()) for _, covered in taken])
    return seen.permute(0, 3, 1, 2).contiguous() * 2 - 1, covered


class Lessons(nn.Module):
    """For the eye's first lessons only: where the shape is, then its colour, its shape and the background."""

    def __init__(self, shape: EyeShape) -> None:
        super().__init__()
        self.norm, self.covered = nn.LayerNorm(shape.width), nn.Linear(shape.width, (shape.patch // 2) ** 2)
        self.hidden = nn.Linear(shape.width, shape.width)
        self.sizes = (len(scenes.COLOURS), len(scenes.SHAPES), len(scenes.COLOURS))
        self.out = nn.Linear(shape.width, sum(self.sizes))

    def forward(self, layers: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits of how far each part of a patch is covered, from half the layers; of each name, from all."""
        covered = self.covered(self.norm(layers[len(layers) // 2 - 1]))
        return covered, self.out(functional.gelu(self.hidden(layers[-1])).mean(1)).split(self.sizes, dim=-1)


def _names_of(shown: list[Scene]) -> list[Tensor]:
    colours, shapes = scenes.COLOUR_NAMES, scenes.SHAPE_NAMES
    return [
        torch.tensor([colours.index(scene.colour) for scene in shown]),
        torch.tensor([shapes.index(scene.shape) for scene in shown]),
        torch.tensor([colours.index(scene.background) for scene in shown]),
    ]


def _optimizers(module: nn.Module, rate: float) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the layers' matrices, AdamW at a tenth of its rate for the rest."""
    matrices = [p for name, p in module.named_parameters() if "blk." in name and p.ndim == 2]
    rest = [p for name, p in module.named_parameters() if not ("blk." in name and p.ndim == 2)]
    muon = torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="original")
    adam = torch.optim.AdamW(rest, lr=rate / 10, betas=(0.9, 0.98), weight_decay=0.0)
    return [(muon, rate), (adam, rate / 10)]


def _step(optimizers: list[tuple[torch.optim.Optimizer, float]], scale: float) -> None:
    for optimizer, rate in optimizers:
        optimizer.param_groups[0]["lr"] = rate * scale
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def open_eye(eye: Eye, plan: Plan) -> None:
    """The eye alone learns to tell shape from ground and to name what it sees."""
    chance, lessons = random.Random(plan.seed), Lessons(eye.shape)
    optimizers = _optimizers(nn.ModuleDict({"eye": eye, "lessons": lessons}), plan.eye_rate)
    started, right = time.monotonic(), torch.zeros(3)
    for step in range(plan.eye_steps):
        shown = [scenes.draw_scene(chance, scenes.TRAINED_KINDS) for _ in range(plan.batch)]
        seen, covered = photographs(shown, eye.shape.pixels, chance)
        truths = _names_of(shown)
        with torch.autocast("cpu", torch.bfloat16):
            outlined, said = lessons(eye.layers(seen))
        parts = functional.pixel_unshuffle(covered[:, None], eye.shape.patch // 2).flatten(2).transpose(1, 2)
        losses = [functional.cross_entropy(a.float(), b) for a, b in zip(said, truths, strict=True)]
        outline = functional.binary_cross_entropy_with_logits(outlined.float(), parts)
        # Outline and shape are the hardest.
        (losses[0] + 2 * losses[1] + losses[2] + 4 * outline).backward()
        _step(optimizers, _paced(step, plan.eye_steps))
        right += torch.tensor([(s.argmax(-1) == t).float().mean() for s, t in zip(said, truths, strict=True)])
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            colour, shape, background = (right / REPORT_EVERY).tolist()
            told = (
                f"colour {colour:.1%}, shape {shape:.1%}, background {background:.1%}, outline {outline:.3f}"
            )
            print(f"eye step {step + 1:5}  {time.monotonic() - started:4.0f} s  {told}", flush=True)
            right.zero_()


def tokens_of(messages: list[Message], places: int) -> dataset.Row:
    """A conversation's tokens and weights; each picture takes so many places."""
    tokens: list[int] = []
    weights: list[float] = []
    for text, written in segments(messages):
        for place, words in enumerate(text.split(questions.PICTURE)):
            if place:
                tokens += [SEEN] * places
                weights += [0.0] * places
            pieces = encode(words)
            tokens += pieces
            weights += [1.0 if written else dataset.READING_WEIGHT] * len(pieces)
    return tokens, weights


def seen_batch(plan: Plan, chance: random.Random, eye: Eye) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens and weights of some conversations, padded, and their pictures in order."""
    source, rows, shown = Source(chance.getrandbits(32)), [], []
    for _ in range(plan.conversations):
        messages, pair = questions.draw_conversation(chance, scenes.TRAINED_KINDS)
        rows.append(tokens_of(dataset.draw_system(source) + messages, eye.shape.patches))
        shown += pair
    longest = max(len(tokens) for tokens, _ in rows)
    tokens = torch.tensor([row + [MARKERS[PADDING]] * (longest - len(row)) for row, _ in rows])
    weights = torch.tensor([row + [0.0] * (longest - len(row)) for _, row in rows])
    return tokens, weights, photographs(shown, eye.shape.pixels, chance)[0]


def _talk(plan: Plan) -> Iterator[dataset.Batch]:
    """Plain conversations, those it learned from and never the same again."""
    for seed in range(plan.seed, plan.seed + 10_000):
        yield from dataset.group(Source(seed), dataset.LATE, train.TOKENS_PER_STEP, train.BATCHES_PER_GROUP)


def look_and_talk(eye: Eye, model: Llama, plan: Plan) -> None:
    """Eye and language model learn together: half of each step is about pictures, half is not."""
    chance, talk = random.Random(plan.seed + 1), _talk(plan)
    optimizers = _optimizers(nn.ModuleDict({"eye": eye, "model": model}), plan.rate)
    started, seen_loss, talk_loss = time.monotonic(), 0.0, 0.0
    for step in range(plan.steps):
        tokens, weights, seen = seen_batch(plan, chance, eye)
        with torch.autocast("cpu", torch.bfloat16):
            told = eye(seen).flatten(0, 1)
        looked = train.judge(model, tokens, weights, told).loss
        looked.backward()
        rows, counts = next(talk)
        talked = train.judge(model, torch.tensor(rows), torch.tensor(counts)).loss
        talked.backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *eye.parameters()], 1.0)
        _step(optimizers, _paced(step, plan.steps))
        seen_loss, talk_loss = seen_loss + looked.item(), talk_loss + talked.item()
        if step % REPORT_EVERY == REPORT_EVERY - 1:
            told_losses = f"loss: seen {seen_loss / REPORT_EVERY:.3f}, talk {talk_loss / REPORT_EVERY:.3f}"
            print(f"step {step + 1:5}  {time.monotonic() - started:4.0f} s  {told_losses}", flush=True)
            seen_loss = talk_loss = 0.0
