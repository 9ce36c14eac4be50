"""The training loop: mixed rows, Muon for the matrices and AdamW for the rest, on the processor in bfloat16.

It must not know what a conversation is; dataset.py hands it rows.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from training.chat import dataset
from training.chat.first import set_first_weights
from training.chat.model import Llama, Shape
from training.chat.source import Source
from training.chat.vocabulary import VOCABULARY

# Small batches: at this size the number of steps limits learning, not the number of tokens.
TOKENS_PER_STEP = 4096
# Rows are sorted by length within a group, so little is spent on padding.
BATCHES_PER_GROUP = 24
EARLY_SHARE = 0.15
REPORT_EVERY, SAVE_EVERY = 50, 400


# 3.2 million parameters: as much as learns all this in forty minutes on one core.
SHAPE = Shape(vocabulary=VOCABULARY, layers=6)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn: the rates rise at once and fall linearly from 40 % of `schedule` on.

    They would be zero at its end; before that, what is left is handed on to training with pictures.
    """

    steps: int = 2000
    schedule: int = 3200
    seed: int = 20261122
    muon_rate: float = 0.02
    adam_rate: float = 0.004
    shape: Shape = SHAPE


def _make_group(task: tuple[int, dataset.Mix]) -> list[dataset.Batch]:
    seed, mix = task
    return dataset.group(Source(seed), mix, TOKENS_PER_STEP, BATCHES_PER_GROUP)


def batches(plan: Plan, pool: multiprocessing.pool.Pool) -> Iterator[tuple[Tensor, Tensor]]:
    """Each step's tokens and weights, a pure function of the plan; another process makes them."""
    groups = plan.schedule // BATCHES_PER_GROUP + 1
    tasks = (
        (plan.seed * 100_003 + group, dataset.EARLY if group < groups * EARLY_SHARE else dataset.LATE)
        for group in range(groups)
    )
    for made in pool.imap(_make_group, tasks):
        for tokens, weights in made:
            yield torch.tensor(tokens), torch.tensor(weights)


class Judgement(NamedTuple):
    """The loss of one step, and how many of its hard choices were right."""

    loss: Tensor
    right: int
    choices: int


def judge(model: Llama, tokens: Tensor, weights: Tensor, seen: Tensor | None = None) -> Judgement:
    """The weighted mean of how badly each next token was foreseen, in nats."""
    wanted = weights[:, 1:].flatten()
    counted = wanted > 0
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens[:, :-1], seen)
    judged, truth, wanted = (
        logits.flatten(0, 1)[counted].float(),
        tokens[:, 1:].flatten()[counted],
        wanted[counted],
    )
    losses = functional.cross_entropy(judged, truth, reduction="none")
    hard = wanted == dataset.CHOICE_WEIGHT
    right = int((judged[hard].argmax(-1) == truth[hard]).sum())
    return Judgement((losses * wanted).sum() / wanted.sum(), right, int(hard.sum()))


def _optimizers(model: Llama, plan: Plan) -> tuple[torch.optim.Optimizer, ...]:
    matrices = [p for p in model.blk.parameters() if p.ndim == 2]
    rest = [p for name, p in model.named_parameters() if p.ndim == 1 or not name.startswith("blk.")]
    return (
        torch.optim.Muon(matrices, lr=plan.muon_rate, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    )


def train(plan: Plan, checkpoint: Path) -> Llama:
    """A trained network; its weights also go to `checkpoint` now and then.

    The same plan gives the same rows and first weights; the last bits of sums differ with the machine.
    """
    torch.manual_seed(plan.seed)
    model = Llama(plan.shape)
    set_first_weights(model)
    print(
        f"{model.parameter_count():,} parameters; {plan.steps} steps of {TOKENS_PER_STEP} tokens", flush=True
    )
    optimizers = _optimizers(model, plan)
    started, losses, right, choices = time.monotonic(), 0.0, 0, 0
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for step, (tokens, weights) in zip(range(plan.steps), batches(plan, pool), strict=False):
            scale = min(1.0, (step + 1) / 30, (1 - step / plan.schedule) / 0.6)
            for optimizer, rate in zip(optimizers, (plan.muon_rate, plan.adam_rate), strict=True):
                optimizer.param_groups[0]["lr"] = rate * scale
            judgement = judge(model, tokens, weights)
            judgement.loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            losses += judgement.loss.item()
            right, choices = right + judgement.right, choices + judgement.choices
            if step % REPORT_EVERY == REPORT_EVERY - 1:
                speed = (step + 1) * TOKENS_PER_STEP / (time.monotonic() - started)
                share = right / max(1, choices)
                print(
                    f"step {step + 1:5}  {speed:5.0f} tokens/s  loss {losses / REPORT_EVERY:.3f}  "
                    f"choices right {share:.1%}",
                    flush=True,
                )
                losses, right, choices = 0.0, 0, 0
            if step % SAVE_EVERY == SAVE_EVERY - 1:
                torch.save(model.state_dict(), checkpoint)
    torch.save(model.state_dict(), checkpoint)
    return model
