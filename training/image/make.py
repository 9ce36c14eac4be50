"""Makes starter-image from nothing, data, training, ONNX and manifest: `python -m training.image.make`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from training import manifest
from training.image import export, train


def _record(path: Path, network: nn.Module, plan: train.Plan, skills: list[str]) -> None:
    manifest.record(
        path,
        engine="image",
        parameters=sum(each.numel() for each in network.parameters()),
        quantization="f32",
        languages=["en", "zh"],
        skills=skills,
        made_by=f"python -m training.image.make --steps {plan.steps} --seed {plan.seed}",
        data="drawn by training/scenes.py, no external data",
    )


def main() -> None:
    """Train and write the package's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    usual = train.Plan()
    parser.add_argument("--steps", type=int, default=usual.steps, help=f"{usual.pictures} pictures each")
    parser.add_argument("--reader-steps", type=int, default=usual.reader_steps)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--threads", type=int, default=1, help="more help only where cores are idle")
    parser.add_argument(
        "--output", type=Path, default=manifest.PACKAGE, help="folder of the model and its manifest"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = train.Plan(options.reader_steps, options.steps, options.seed)
    options.output.mkdir(parents=True, exist_ok=True)

    reader, path = train.train_reader(plan), options.output / "starter-image-reader.onnx"
    export.write_reader(reader, path)
    _record(path, reader, plan, ["reads prompts for starter-image"])
    hand, path = train.train_hand(plan), options.output / "starter-image.onnx"
    export.write_hand(hand, path)
    _record(
        path, hand, plan, ["draws a coloured shape on a coloured background", "edits", "masks", "variations"]
    )


if __name__ == "__main__":
    main()
