"""Makes the starter models, or those named: `python -m training.make [chat] [vision] [image] [options]`.

Vision goes on from chat, so chat comes first. Options are those of each model's own `make`.
"""

from __future__ import annotations

import subprocess
import sys

MODELS = ("chat", "vision", "image")
SCORES = {"chat": "training.score", "vision": "training.vision.score", "image": "training.image.score"}


def commands(arguments: list[str]) -> list[list[str]]:
    """The modules to run with their arguments: all are made, then all are scored."""
    named = [name for name in MODELS if name in arguments] or list(MODELS)
    rest = [argument for argument in arguments if argument not in MODELS]
    made = [[f"training.{name}.make", *rest] for name in named]
    # What sees is no longer quite what only talked: both are scored.
    scored = [name for name in MODELS if name in named or (name == "chat" and "vision" in named)]
    return made + [[SCORES[name], "--write"] for name in scored if "--output" not in rest]


def main() -> None:
    """Run them one after the other; the first that fails ends it."""
    for command in commands(sys.argv[1:]):
        print("python -m", *command, flush=True)
        subprocess.run([sys.executable, "-m", *command], check=True)


if __name__ == "__main__":
    main()
