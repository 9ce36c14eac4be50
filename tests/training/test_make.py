"""Which scripts `make starter` runs."""

from __future__ import annotations

import importlib.util

from training import make


def test_all_are_made_in_order_and_scored() -> None:
    everything = make.commands([])
    assert [command[0] for command in everything] == [
        "training.chat.make", "training.vision.make", "training.image.make",
        "training.score", "training.vision.score", "training.image.score",
    ]  # fmt: skip
    assert all(importlib.util.find_spec(command[0]) for command in everything)


def test_those_that_are_named_are_made_with_their_options() -> None:
    assert make.commands(["--seed", "3", "image"]) == [
        ["training.image.make", "--seed", "3"],
        ["training.image.score", "--write"],
    ]
    # Learning to see changes what talks.
    assert [command[0] for command in make.commands(["vision"])] == [
        "training.vision.make", "training.score", "training.vision.score",
    ]  # fmt: skip
    # Scores go into the package's manifest, not into another folder's.
    assert make.commands(["chat", "--output", "x"]) == [["training.chat.make", "--output", "x"]]
