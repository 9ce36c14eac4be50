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

import torch
from torch import Tensor
from torch.nn import functional

from training.chat import dataset
from training.chat.conversation import VOCABULARY
from training.chat.first import set_first_weights
from training.chat.model import Llama, Shape
from training.chat.source import Source

# Small batches: at this size the number of steps limits learning, not the number of tokens.
TOKENS_PER_STEP = 4096
# Rows are sorted by length within a group, so little is spent on padding.
BATCHES_PER_GROUP = 24


# 2.3 million parameters: as much as learns all this in half an hour on one core.
SHAPE = Shape(vocabulary=VOCABULARY)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to learn: in each round the rates fall linearly to zero over the last 60 %."""

    rounds: int = 3
    steps: int = 1100
    seed: int = 20261122
    muon_rate: float = 0.02
    adam_rate: float = 0.004
    shape: Shape = SHAPE


def _make_group(task: tuple[int, dataset.Mix]) -> list[dataset.Batch]:
    seed, mix = task
    return dataset.group(Source(seed), mix, TOKENS_PER_STEP, BATCHES_PER_GROUP)


def _mix(number: int, progress: float) -> dataset.Mix:
    if number:
        return dataset.SUMS if number == 1 else dataset.TOOLS
    return dataset.SECOND_HALF if progress > 0.5 else dataset.FIRST_HALF


def batches(plan: Plan, number: int, pool: multiprocessing.pool.Pool) -> Iterator[tuple[Tensor, Tensor]]:
    """Each step's tokens and weights, a pure function of plan and round; another process makes them."""
    groups = plan.steps // BATCHES_PER_GROUP + 1
    first = plan.seed * 100_003 + number * 10_000
    tasks = ((first + group, _mix(number, group / groups)) for group in range(groups))
    for made in pool.imap(_make_group, tasks):
        for tokens, weights in made:
            yield torch.tensor(tokens), torch.tensor(weights)


def loss_of(model: Llama, tokens: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean of how badly each next token was foreseen, in nats."""
    wanted = weights[:, 1:].flatten()
    chosen = wanted > 0
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens[:, :-1])
    judged = logits.flatten(0, 1)[chosen].float()
    losses = functional.cross_entropy(judged, tokens[:, 1:].flatten()[chosen], reduction="none")
    return (losses * wanted[chosen]).sum() / wanted.sum()


def train_round(model: Llama, plan: Plan, number: int) -> None:
    """One round of training, from 0; later rounds begin at half the rates."""
    matrices = [p for p in model.blk.parameters() if p.ndim == 2]
    rest = [p for name, p in model.named_parameters() if p.ndim == 1 or not name.startswith("blk.")]
    optimizers = (
        torch.optim.Muon(matrices, lr=plan.muon_rate, weight_decay=0.01, adjust_lr_fn="original"),
        torch.optim.AdamW(rest, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    )
    started, smooth = time.monotonic(), [0.0, 0.0]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for step, (tokens, weights) in zip(range(plan.steps), batches(plan, number, pool), strict=False):
            scale = min(1.0, (step + 1) / 30, (1 - step / plan.steps) / 0.6) * (0.5 if number else 1.0)
            for optimizer, rate in zip(optimizers, (plan.muon_rate, plan.adam_rate), strict=True):
                optimizer.param_groups[0]["lr"] = rate * scale
            loss = loss_of(model, tokens, weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            is_long = tokens.shape[1] > 400
            smooth[is_long] = 0.95 * (smooth[is_long] or loss.item()) + 0.05 * loss.item()
            if step % 50 == 49:
                seconds = time.monotonic() - started
                speed = f"{seconds:5.0f} s  {(step + 1) * TOKENS_PER_STEP / seconds:5.0f} tokens/s"
                losses = f"loss: short {smooth[0]:.3f}, long {smooth[1]:.3f}"
                print(f"round {number} step {step + 1:5}  {speed}  {losses}", flush=True)


def train(plan: Plan, checkpoint: Path, resume: bool) -> Llama:
    """A trained network; after each round its weights go to `checkpoint`, from where `resume` goes on.

    The same plan gives the same rows and first weights; the last bits of sums differ with the machine.
    """
    torch.manual_seed(plan.seed)
    model = Llama(plan.shape)
    set_first_weights(model)
    done = 0
    if resume:
        kept = torch.load(checkpoint)
        done = kept["rounds"]
        model.load_state_dict(kept["weights"])
    count = model.parameter_count()
    print(
        f"{count:,} parameters; {plan.rounds} rounds of {plan.steps} steps of {TOKENS_PER_STEP} tokens",
        flush=True,
    )
    for number in range(done, plan.rounds):
        train_round(model, plan, number)
        torch.save({"rounds": number + 1, "weights": model.state_dict()}, checkpoint)
    return model
