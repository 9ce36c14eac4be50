"""Two hundred requests such as clients send, the same every time: what both gateways translate."""

from __future__ import annotations

import json
import random
from typing import Any

Json = dict[str, Any]

COUNT = 200
SEED = 20_261_123

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TEXT = "Paris is sunny today and the river runs slowly below the bridges while boats wait for rain"
WORDS = TEXT.split()
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
STRICT = {**CITY, "additionalProperties": False}
FUNCTIONS: list[Json] = [
    {"name": "get_weather", "description": "The weather in a city.", "parameters": CITY},
    {"name": "get_time", "description": "The time in a city.", "parameters": CITY},
    {
        "name": "roll",
        "parameters": {"type": "object", "properties": {"sides": {"type": "integer", "minimum": 2}}},
    },
]


def requests() -> list[Json]:
    """All of them, in order."""
    chance = random.Random(SEED)
    return [_request(chance) for _ in range(COUNT)]


def _request(chance: random.Random) -> Json:
    body: Json = {"model": "m", "messages": _messages(chance)}
    called = any("tool_calls" in message for message in body["messages"])
    for name, make in (
        ("temperature", lambda: round(chance.uniform(0, 1), 2)),
        ("top_p", lambda: round(chance.uniform(0.1, 0.9), 2)),
        ("max_tokens", lambda: chance.randrange(1, 4000)),
        ("max_completion_tokens", lambda: chance.randrange(1, 4000)),
        ("stop", lambda: chance.choice(["END", ["END", "\n\n"]])),
        ("user", lambda: "user-17"),
        ("response_format", lambda: _form(chance)),
        ("reasoning_effort", lambda: chance.choice(["low", "medium", "high"])),
        ("stream", lambda: True),
    ):
        if chance.random() < 0.2:
            body[name] = make()
    if "max_tokens" in body:
        body.pop("max_completion_tokens", None)
    if called or chance.random() < 0.3:
        functions = FUNCTIONS if called else chance.sample(FUNCTIONS, chance.randrange(1, 4))
        body["tools"] = [{"type": "function", "function": function} for function in functions]
        if chance.random() < 0.4:
            named = {"type": "function", "function": {"name": functions[0]["name"]}}
            body["tool_choice"] = chance.choice(["auto", "required", "none", named])
        if chance.random() < 0.15:
            body["parallel_tool_calls"] = False
        body.pop("response_format", None)  # beside tools it means another thing to everyone
    return body


def _form(chance: random.Random) -> Json:
    schema = {"name": "city", "schema": STRICT, "strict": True}
    return chance.choice([{"type": "json_object"}, {"type": "json_schema", "json_schema": schema}])


def _messages(chance: random.Random) -> list[Json]:
    messages: list[Json] = []
    if chance.random() < 0.6:
        messages.append({"role": chance.choice(["system", "developer"]), "content": _words(chance)})
    messages.append({"role": "user", "content": _content(chance)})
    for turn in range(chance.randrange(3)):
        if chance.random() < 0.5:
            messages.append({"role": "assistant", "content": _words(chance)})
        else:
            messages += _calls(chance, turn)
        messages.append({"role": "user", "content": _content(chance)})
        if chance.random() < 0.1:
            messages.append({"role": "user", "content": _words(chance)})
    return messages


def _calls(chance: random.Random, turn: int) -> list[Json]:
    calls = [
        {
            "id": f"call_{turn}_{place}",
            "type": "function",
            "function": {
                "name": chance.choice(FUNCTIONS)["name"],
                "arguments": json.dumps({"city": _words(chance)}),
            },
        }
        for place in range(chance.randrange(1, 4))
    ]
    said = _words(chance) if chance.random() < 0.4 else None
    results = [{"role": "tool", "tool_call_id": call["id"], "content": _words(chance)} for call in calls]
    return [{"role": "assistant", "content": said, "tool_calls": calls}, *results]


def _content(chance: random.Random) -> str | list[Json]:
    if chance.random() < 0.7:
        return _words(chance)
    parts: list[Json] = [{"type": "text", "text": _words(chance)}]
    if chance.random() < 0.6:
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}})
    return parts


def _words(chance: random.Random) -> str:
    return " ".join(chance.sample(WORDS, chance.randrange(1, 9)))
