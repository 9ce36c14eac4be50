"""Makes chat requests whose JSON is nearly right, the same for the same chance. Knows not who reads them."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

from tests.edge.mutants import mutated

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Says it.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        "strict": True,
    },
}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True}}
USER = {"role": "user", "content": "Hello, 你好, \U0001f600"}
CALL = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bern"}'}}

SEEDS: list[dict[str, Any]] = [
    {"model": "m", "messages": [USER]},
    {"model": "m", "messages": [USER], "stream": True},
    {"model": "m", "messages": [USER], "stream": True, "stream_options": {"include_usage": True}},
    {
        "model": "m",
        "messages": [{"role": "system", "content": "Be short."}, {"role": "developer", "content": "x"}, USER],
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 2,
        "stop": ["a", "b"],
        "max_completion_tokens": 16,
        "presence_penalty": -1.5,
        "frequency_penalty": 1,
        "logit_bias": {"50256": -100},
        "user": "someone",
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 3,
        "response_format": {"type": "json_object"},
    },
    {
        "model": "m",
        "messages": [USER],
        "seen": 1,
        "stop": "x",
        "response_format": SCHEMA,
        "reasoning_effort": "low",
    },
    {
        "model": "m",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "What is it?"}, PICTURE]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "sunny"},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "stream": True,
    },
    {
        "model": "m",
        "messages": [USER, {"role": "function", "name": "f", "content": "1"}],
        "functions": [{"name": "f", "parameters": {"type": "object"}}],
        "function_call": {"name": "f"},
        "modalities": ["text"],
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "x_unknown": {"deep": [1, 2, {"3": None}]},
    },
]

ODD: list[Any] = [
    None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**63) - 1, 2**64, 10**30, 0.0, -0.5, 1.5, 1e308, 1e-320,
    "", "m", "x", "\x00", "\ud800", "\uffff", "a" * 5000, "1", "true", "null", "../../etc/passwd", "auto",
    "none", [], [[]], {}, {"": ""}, {"type": "text"}, {"role": "user"}, [None] * 50, ["x"] * 500,
    {"a": {"b": {}}}, USER, [USER], TOOL, CALL, PICTURE, SCHEMA,
]  # fmt: skip
"""Values where others belong."""

BITS = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"Infinity", b"-", b"1e999",
    b"0123", b"1.", b"//", b"'", b"\\u0000", b"\\ud800", b"\\x", b"\x00", b"\x1f", b"\x80", b"\xff\xfe",
    b"\xef\xbb\xbf", b"\n", b'"model":"m",', b'"stream":true,', b'"stream":false,', b'"n":128,',
    b'"messages":[],', b"[" * 3000, b'{"a":' * 2000,
]  # fmt: skip

Place = tuple[Any, Any]


def places(value: Any) -> list[Place]:
    """Every container in a JSON value, with each of its keys."""
    found: list[Place] = []
    keys: list[Any] = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    for key in keys:
        found.append((value, key))
        found += places(value[key])
    return found


def bent(body: dict[str, Any], chance: Random) -> Any:
    """The same with one value changed, moved, doubled, nested or gone."""
    container, key = chance.choice(places(body))
    kind = chance.randrange(8)
    if kind <= 3:
        container[key] = deepcopy(chance.choice(ODD))
    elif kind == 4:
        del container[key]
    elif kind == 5:
        container[key] = chance.choice(
            [[container[key]], {"a": container[key]}, [container[key], deepcopy(container[key])]]
        )
    elif kind == 6:
        other, place = chance.choice(places(body))
        other[place] = deepcopy(container[key])
    elif isinstance(container, dict):
        container[chance.choice(["x", "model", "stream", "messages", "n", "", "\u0000", str(key) + " "])] = (
            container.pop(key)
        )
    else:
        container.append(deepcopy(chance.choice(ODD)))
    return body


def body(chance: Random) -> bytes:
    """One body, for the model `m` or `l` unless that was changed, too."""
    value = deepcopy(chance.choice(SEEDS))
    value["model"] = chance.choice(["m", "l"])
    for _ in range(chance.choice([0, 1, 1, 1, 1, 2])):
        if places(value):
            value = bent(value, chance)
    text = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, None, 1]))
    data = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.25:
        data = mutated(data, chance, BITS)
    return data
