"""The tool skill: tools in many spellings; call the one asked for, copy the value, answer from the result.

Names of functions, parameters and cities are mostly made up: the model must read them where they stand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from training.chat import phrases, talk
from training.chat.conversation import Message
from training.chat.source import Source

Schema = dict[str, Any]

KINDS = ("weather", "time", "price")
# How many things one question asks for: mostly one.
CALLS = (1,) * 12 + (2, 2, 3)


@dataclass(frozen=True)
class Tool:
    """One offered function: what it is for, and the OpenAI schema that says so."""

    kind: str
    name: str
    parameter: str
    unit: str | None
    unit_required: bool
    schema: Schema


def _name(source: Source, kind: str) -> str:
    if kind == "other":
        known = source.chance(0.5)
        return source.one(phrases.TOOLS[kind]["names"]) if known else f"{source.word()}_{source.word()}"
    if source.chance(0.45):
        return source.one(phrases.TOOLS[kind]["names"])
    candidates = (
        f"{source.word()}_{kind}",
        f"{kind}_{source.word()}",
        f"get_{kind}_{source.word()}",
        f"{source.word()}{kind.capitalize()}",
        f"{source.word()}_{source.word()}",
        f"{kind}{source.whole(2, 99)}",
        f"{source.word()}.{kind}",
    )
    return source.one(candidates)


def draw_tool(source: Source, kind: str) -> Tool:
    """A function of this kind with a name, parameter names, notes and key order of its own."""
    name = source.own("function", lambda: _name(source, kind))
    made_up = kind == "other" or source.chance(0.2)
    parameter = source.word() if made_up else source.one(phrases.TOOLS[kind]["parameters"])
    properties: Schema = {parameter: {"type": "string"}}
    if source.chance(0.4):
        properties[parameter]["description"] = source.one(phrases.TOOLS["parameter"]["notes"])
    has_unit = kind == "weather" and source.chance(0.3)
    unit = source.one(("unit", "unit", "units", "scale")) if has_unit else None
    unit_required = unit is not None and source.chance(0.25)
    if unit:
        properties[unit] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    parameters: Schema = {"type": "object", "properties": properties}
    if source.chance(0.75):
        parameters["required"] = [parameter] + ([unit] if unit and unit_required else [])
    if unit_required and "required" not in parameters:
        unit_required = False
    if source.chance(0.15):
        parameters["additionalProperties"] = False
    if source.chance(0.1):
        order = ("properties", "required", "type", "additionalProperties")
        parameters = {key: parameters[key] for key in order if key in parameters}
    # llama.cpp shows the template exactly these three keys, an absent description as an empty one.
    # A name that says nothing needs a description that does.
    described = kind not in name.lower() or source.chance(0.6)
    description = source.one(phrases.TOOLS[kind]["descriptions"]) if described else ""
    function = {"name": name, "description": description, "parameters": parameters}
    return Tool(kind, name, parameter, unit, unit_required, {"type": "function", "function": function})


def draw_tools(source: Source) -> list[Tool]:
    """One to three different kinds of tool, the weather most often among them."""
    count = source.one((1, 1, 1, 2, 2, 3))
    kinds = ["weather"] if source.chance(0.85) else [source.one(("time", "price"))]
    rest = [kind for kind in ("weather", "time", "price", "other") if kind not in kinds]
    source.random.shuffle(rest)
    kinds += rest[: count - 1]
    source.random.shuffle(kinds)
    return [draw_tool(source, kind) for kind in kinds]


def _call(tool: Tool, arguments: dict[str, str], number: str) -> Schema:
    written = json.dumps(arguments, ensure_ascii=False)
    return {"id": number, "type": "function", "function": {"name": tool.name, "arguments": written}}


def _values(source: Source, kind: str) -> dict[str, Any]:
    """What a tool of this kind finds out, under keys of its own."""
    if kind == "time":
        key = source.one(("time", "now", "local_time"))
        return {key: f"{source.whole(0, 23):02}:{source.whole(0, 59):02}"}
    if kind == "price":
        key = source.one(("price", "value", "usd"))
        return {key: source.one((source.whole(1, 999), f"{source.whole(1, 999)}.{source.whole(10, 99)}"))}
    degrees = source.whole(-20, 99)
    values = {source.one(("temperature", "temp", "degrees", "t")): source.one((degrees, str(degrees)))}
    if source.chance(0.6):
        sky = source.one((source.one(phrases.TOOLS["result"]["conditions"]), source.word()))
        values[source.one(("condition", "conditions", "description", "sky", "forecast"))] = sky
    if source.chance(0.3):
        values[source.one(("unit", "units"))] = source.one(("celsius", "fahrenheit", "C", "F"))
    return values


def _result(source: Source, tool: Tool, subject: str, language: str) -> tuple[str, str]:
    """A tool's answer as text, and what the model makes of it."""
    values = _values(source, tool.kind)
    comma = ", " if language == "en" else "\uff0c"
    if source.chance(0.4):
        plain = comma.join(str(value) for value in values.values())
        return plain, plain
    said = comma.join(f"{key} {value}" for key, value in values.items())
    if source.chance(0.5):
        values = {source.one((tool.parameter, "city", "location")): subject} | values
    return json.dumps(values, ensure_ascii=False), said


def _subject(source: Source, kind: str, language: str) -> str:
    if kind == "price" and source.chance(0.6):
        return source.own("city", lambda: source.letters(1, 5).upper())
    return source.city(language)


def _joined(source: Source, subjects: list[str], language: str) -> str:
    """As one says a list of names: a, b and c."""
    if len(subjects) == 1:
        return subjects[0]
    comma, links = (", ", (" and ", ", and ")) if language == "en" else ("、", ("和",))
    return comma.join(subjects[:-1]) + source.one(links) + subjects[-1]


def use(source: Source, language: str, tools: list[Tool], count: int = 0) -> list[Message]:
    """The user asks for what a tool gives: `count` calls or a few; mostly results and the answer follow."""
    tool = source.one([tool for tool in tools if tool.kind != "other"])
    count = count or source.one(CALLS)
    subjects = [_subject(source, tool.kind, language) for _ in range(count)]
    joined = _joined(source, subjects, language)
    question = talk.vary(source, source.one(phrases.TOOLS[tool.kind]["questions"][language]).format(joined))
    unit = "celsius" if tool.unit_required else None
    if tool.unit and source.chance(0.5):
        unit = source.one(("celsius", "fahrenheit"))
        question += source.one(phrases.TOOLS["unit"][unit][language])
    numbers = [f"call_{source.letters(8, 8)}" for _ in subjects]
    extra = {tool.unit: unit} if tool.unit and unit else {}
    calls = [
        _call(tool, {tool.parameter: subject} | extra, number)
        for subject, number in zip(subjects, numbers, strict=True)
    ]
    turns: list[Message] = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": None, "tool_calls": calls},
    ]
    if source.chance(0.75):
        said = []
        lead = phrases.TOOLS[tool.kind]["answer"][language]
        for subject, number in zip(subjects, numbers, strict=True):
            text, meaning = _result(source, tool, subject, language)
            turns.append({"role": "tool", "tool_call_id": number, "content": text})
            said.append(lead.format(subject, meaning))
        turns.append({"role": "assistant", "content": (" " if language == "en" else "").join(said)})
    return turns


def refuse(source: Source, language: str, tools: list[Tool]) -> list[Message]:
    """The user asks for what no offered tool gives."""
    missing = [kind for kind in KINDS if kind not in {tool.kind for tool in tools}]
    if not missing:
        return talk.unknown(source, language)
    template = source.one(phrases.TOOLS[source.one(missing)]["questions"][language])
    question = talk.vary(source, template.format(source.city(language)))
    return talk.exchange(question, phrases.ANSWERS["unknown"][language])
