"""Gives starter-chat, as training.chat.make left it, its eye: `python -m training.vision.make`."""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import torch

from training import manifest
from training.chat import export as chat_export
from training.chat import make as chat
from training.chat import train as chat_train
from training.chat.model import Llama
from training.vision import export, train
from training.vision.model import Eye, EyeShape


def main() -> None:
    """Train eye and language model together and write the package's files, the language model's anew."""
    parser = argparse.ArgumentParser(description=__doc__)
    usual = train.Plan()
    parser.add_argument("--eye-steps", type=int, default=usual.eye_steps, help=f"{usual.batch} pictures each")
    parser.add_argument(
        "--steps", type=int, default=usual.steps, help=f"{usual.conversations} conversations each"
    )
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--threads", type=int, default=1, help="more help only where cores are idle")
    parser.add_argument(
        "--output", type=Path, default=manifest.PACKAGE, help="folder of the models and the manifest"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = train.Plan(options.eye_steps, options.steps, options.seed)
    model = Llama(chat_train.SHAPE)
    model.load_state_dict(torch.load(options.output / chat.CHECKPOINT))

    torch.manual_seed(plan.seed)
    eye = Eye(EyeShape(told=model.shape.width))
    train.open_eye(eye, plan)
    train.look_and_talk(eye, model, plan)

    path = options.output / "starter-chat.gguf"
    chat_export.write(model, path, gguf.GGMLQuantizationType.F16)
    made_by = f"{chat.made_by(chat_train.Plan())}, then python -m training.vision.make --seed {plan.seed}"
    chat.record(path, model, "f16", [*chat.SKILLS, "pictures, with starter-vision.gguf"], made_by)
    path = options.output / "starter-vision.gguf"
    export.write(eye, path)
    manifest.record(
        path,
        engine="llamacpp",
        projector_of="starter-chat.gguf",
        parameters=sum(each.numel() for each in eye.parameters()),
        quantization="f16",
        context=eye.shape.patches,
        languages=["en", "zh"],
        skills=["what a picture shows: a coloured shape on a coloured background", "questions about it"],
        made_by=f"python -m training.vision.make --seed {plan.seed}",
        data="drawn by training/scenes.py, no external data",
    )


if __name__ == "__main__":
    main()
