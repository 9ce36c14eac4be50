"""Scores a starter model through the real llama.cpp over HTTP, on conversations held out from training.

Run `python -m training.score` (needs xllamacpp, not torch).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training import manifest
from training.chat import dataset, talk, tools
from training.chat.conversation import Message
from training.chat.source import Source
from training.engine import SLOTS, Engine, serving

# Not the training seed; what is drawn is held out besides.
SEED = 777


@dataclass(frozen=True)
class Item:
    """One reply to be judged: what was said before, and the only right message."""

    skill: str
    messages: list[Message]
    tools: list[dict[str, Any]]
    expected: Message


def _items_of(skill: str, conversation: dataset.Conversation) -> list[Item]:
    """Every reply of a conversation; what follows a tool's result is a skill of its own."""
    items = []
    for place, message in enumerate(conversation.messages):
        if message["role"] != "assistant":
            continue
        kind = skill
        if conversation.messages[place - 1]["role"] == "tool":
            kind = f"{skill}, its result"
        items.append(Item(kind, conversation.messages[:place], conversation.tools, message))
    return items


def held_out_items(count: int) -> list[Item]:
    """`count` conversations of every skill in both languages, the same each time."""
    source = Source(SEED, held_out=True)
    items: list[Item] = []
    for skill, draw in talk.SKILLS.items():
        for number in range(count):
            conversation = dataset.Conversation(dataset.draw_system(source))
            conversation.messages += draw(source, ("en", "zh")[number % 2])
            items += _items_of(skill, conversation)[-1:]
    for _ in range(count):
        items += _items_of("several turns", dataset.talk_conversation(source, 3))[-1:]
    for number in range(count):
        language = ("en", "zh")[number % 2]
        offered = tools.draw_tools(source)
        schemas = [tool.schema for tool in offered]
        system = dataset.draw_system(source)
        for skill, turns in (
            ("tool call", tools.use(source, language, offered, 1)),
            ("two calls at once", tools.use(source, language, offered, 2)),
            ("tools not needed", dataset.aside(source, language)),
            ("tools of no help", tools.refuse(source, language, offered)),
        ):
            items += _items_of(skill, dataset.Conversation(system + turns, schemas))
    return items


def comparable(message: Message) -> tuple[str, list[tuple[str, Any]]]:
    """What counts in a message: its text and its calls (ids differ, spaces in arguments do not matter)."""
    called = [call["function"] for call in message.get("tool_calls") or ()]
    return message.get("content") or "", [(each["name"], json.loads(each["arguments"])) for each in called]


def is_right(engine: Engine, item: Item, temperature: float, seed: int) -> tuple[bool, str]:
    """Whether the model's reply is exactly the expected one, and what it said."""
    try:
        chance = {"temperature": temperature, "seed": seed}
        reply = engine.reply(item.messages, item.tools, parallel_tool_calls=True, **chance)
        said = comparable(reply)
    except (RuntimeError, ValueError) as problem:
        return False, str(problem)
    return said == comparable(item.expected), f"{said}"


def score(engine: Engine, items: list[Item], temperature: float, misses: int) -> dict[str, tuple[int, int]]:
    """Right answers and questions per skill; prints the first few misses of each."""
    right: dict[str, int] = defaultdict(int)
    asked: dict[str, int] = defaultdict(int)
    with ThreadPoolExecutor(SLOTS) as threads:
        answers = threads.map(lambda pair: is_right(engine, pair[1], temperature, pair[0]), enumerate(items))
        for item, (good, said) in zip(items, answers, strict=True):
            asked[item.skill] += 1
            right[item.skill] += good
            if not good and asked[item.skill] - right[item.skill] <= misses:
                print(f"  miss ({item.skill}) {item.messages[-1]['content']!r}")
                print(f"    wanted {comparable(item.expected)}\n    got    {said}")
    return {skill: (right[skill], asked[skill]) for skill in asked}


def main() -> None:
    """Print one table: greedy, and at temperature 1 (the API's default)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=manifest.PACKAGE / "starter-chat.gguf")
    parser.add_argument("--count", type=int, default=100, help="conversations per skill")
    parser.add_argument("--misses", type=int, default=0, help="how many wrong replies to show per skill")
    parser.add_argument(
        "--write", action="store_true", help="enter the scores in the manifest beside the model"
    )
    options = parser.parse_args()
    items = held_out_items(options.count)
    with serving(options.model) as engine:
        greedy = score(engine, items, 0.0, options.misses)
        sampled = score(engine, items, 1.0, 0)
    print("| skill | greedy | temperature 1 |\n|---|---|---|")
    for skill, (right, asked) in greedy.items():
        print(f"| {skill} | {right} of {asked} | {sampled[skill][0]} of {asked} |")
    shares = [sum(right for right, _ in table.values()) / len(items) for table in (greedy, sampled)]
    print(f"| all {len(items)} | {shares[0]:.1%} | {shares[1]:.1%} |")
    if options.write:
        manifest.add_scores(options.model, greedy)


if __name__ == "__main__":
    main()
