"""Random conversations as clients of OpenAI's write them, and what a client makes of a stream of chunks."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from headgate.core.sse import events, payload

Json = dict[str, Any]

WORDS = st.text(st.characters(exclude_categories=["Cs", "Z", "C"]), min_size=1, max_size=12)
"""Text with something in it to see: a blank one is refused by some models, and left out."""
NAMES = st.sampled_from(["f", "g", "look_up"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(WORDS, VALUES, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """Messages of every role, calls with their results in any order."""
    messages: list[Json] = [{"role": "user", "content": draw(WORDS)}]
    for turn in range(draw(st.integers(0, 3))):
        role = draw(st.sampled_from(["system", "developer", "user", "assistant", "calls"]))
        if role != "calls":
            messages.append({"role": role, "content": draw(WORDS)})
            continue
        names = draw(st.lists(NAMES, min_size=1, max_size=3))
        calls = [
            {"id": f"{turn}-{place}", "type": "function",
             "function": {"name": name, "arguments": json.dumps(draw(ARGUMENTS))}}
            for place, name in enumerate(names)
        ]  # fmt: skip
        messages.append({"role": "assistant", "content": draw(st.none() | WORDS), "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": draw(WORDS | ARGUMENTS.map(json.dumps))}
            for call in draw(st.permutations(calls))
        ]
    return messages


def chunks_of(stream: bytes) -> list[Json]:
    """The chunks of a stream, without its end."""
    found = [data for event in events(stream) if (data := payload(event)) is not None]
    return [json.loads(data) for data in found if data != b"[DONE]"]


def accumulated(stream: bytes) -> Json:
    """What a client makes of the deltas of the one choice."""
    made: Json = {"content": "", "reasoning_content": "", "tool_calls": []}
    for chunk in chunks_of(stream):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            for name in ("content", "reasoning_content"):
                made[name] += delta.get(name, "")
            for call in delta.get("tool_calls", ()):
                if call["index"] == len(made["tool_calls"]):
                    made["tool_calls"].append({key: call[key] for key in call if key != "index"})
                else:
                    called = made["tool_calls"][call["index"]]["function"]
                    called["arguments"] += call["function"]["arguments"]
            made["finish_reason"] = choice["finish_reason"]
    return made
