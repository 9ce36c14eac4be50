"""What a request says about functions and the form of its answer, in Cohere's words.

Sources: docs.cohere.com/v2/docs/tools and .../structured-outputs. A choice by name is one of a single tool,
since there are no names in a choice there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.chat import ChatRequest, Named, ToolChoice
from headgate.core.errors import InvalidField
from headgate.core.ports import Call
from headgate.dialects.unsupported import Unsupported

Body = dict[str, Any]
Schema = dict[str, msgspec.Raw]

NO_PARAMETERS = {"type": "object", "properties": {}}
ANY_OBJECT: Schema = {"type": msgspec.Raw(b'"object"')}


class Offer(Struct):
    """How a reply is read."""

    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""
    answer_tool: str | None = None
    """The tool whose input is the answer itself: there is no other form of answer beside tools."""


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None


class _Tool(Struct):
    type: str
    function: _Function | None = None


class _AllowedTool(Struct):
    function: Named | None = None


class _AllowedTools(Struct):
    mode: str
    tools: list[_AllowedTool]


class _AllowedChoice(Struct):
    allowed_tools: _AllowedTools


class _ReplySchema(Struct):
    name: str
    description: str | None = None
    schema: Schema | None = None


class _Format(Struct):
    json_schema: _ReplySchema | None = None


_raw_tools = msgspec.json.Decoder(list[msgspec.Raw]).decode
_tool = msgspec.json.Decoder(_Tool).decode
_functions = msgspec.json.Decoder(list[_Function]).decode
_allowed = msgspec.json.Decoder(_AllowedChoice).decode
_format = msgspec.json.Decoder(_Format).decode


def write_tools(body: Body, call: Call, request: ChatRequest, unsupported: Unsupported) -> Offer:
    """Adds tools, choice and the answer's form to the body; raises InvalidField."""
    if request.parallel_tool_calls is False and request.tools:
        unsupported.parameter("parallel_tool_calls")
    offer = Offer()
    try:
        if request.tools:
            _new_form(body, call, request)
        elif request.functions:
            offer.legacy = True
            _old_form(body, call, request)
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "tools", "Invalid value for 'tools': 'parameters' is an object."
        ) from None
    _answer_form(body, call, request, offer)
    return offer


# --- tools ----------------------------------------------------------------------------------------


def _new_form(body: Body, call: Call, request: ChatRequest) -> None:
    tools: list[Body | msgspec.Raw] = []
    for index, raw in enumerate(_raw_tools(call.fields["tools"])):
        tool = _tool(raw)
        if tool.type == "custom":
            raise violation.wrong_value(
                f"tools[{index}].type",
                "Invalid value: 'custom'. This model supports 'function' only.",
            )
        if tool.function is None:
            tools.append(raw)
            continue
        tools.append(_written(tool.function))
        if tool.function.strict:
            body["strict_tools"] = True
    body["tools"] = tools
    _choose(body, call, request.tool_choice)


def _written(function: _Function) -> Body:
    written: Body = {"name": function.name}
    if function.description:
        written["description"] = function.description
    written["parameters"] = function.parameters or NO_PARAMETERS
    return {"type": "function", "function": written}


def _choose(body: Body, call: Call, choice: str | ToolChoice | None) -> None:
    match choice:
        case None | "auto":
            return
        case "none":
            body["tool_choice"] = "NONE"
        case "required":
            body["tool_choice"] = "REQUIRED"
        case ToolChoice(type="function", function=Named(name=name)):
            _only(body, {name}, "tool_choice", "tools")
            body["tool_choice"] = "REQUIRED"
        case ToolChoice(type="allowed_tools"):
            _choose_among(body, call)
        case ToolChoice(type=kind):
            raise _unknown("tool_choice.type", kind, "'function' and 'allowed_tools'")
        case _:
            raise _unknown("tool_choice", choice, "'none', 'auto' and 'required'")


def _choose_among(body: Body, call: Call) -> None:
    try:
        allowed = _allowed(call.fields["tool_choice"]).allowed_tools
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "tool_choice", "Invalid 'tool_choice': not a list of allowed tools."
        ) from None
    names = {tool.function.name for tool in allowed.tools if tool.function is not None}
    _only(body, names, "tool_choice", "tools")
    if allowed.mode == "required":
        body["tool_choice"] = "REQUIRED"
    elif allowed.mode != "auto":
        raise _unknown("tool_choice.allowed_tools.mode", allowed.mode, "'auto' and 'required'")


def _old_form(body: Body, call: Call, request: ChatRequest) -> None:
    body["tools"] = [_written(function) for function in _functions(call.fields["functions"])]
    choice = request.function_call
    if isinstance(choice, Named):
        _only(body, {choice.name}, "function_call", "functions")
        body["tool_choice"] = "REQUIRED"
    elif choice == "none":
        body["tool_choice"] = "NONE"
    elif choice not in (None, "auto"):
        raise _unknown("function_call", str(choice), "'none' and 'auto'")


def _only(body: Body, names: Collection[str], param: str, among: str) -> None:
    """Shows these tools and no other."""
    shown = [tool for tool in body["tools"] if isinstance(tool, dict) and tool["function"]["name"] in names]
    for name in names:
        if not any(tool["function"]["name"] == name for tool in shown):
            raise violation.wrong_value(
                param,
                f"Invalid value for '{param}': function '{violation.quote(name)}' not found in '{among}'.",
            )
    body["tools"] = shown


# --- the form of the answer -----------------------------------------------------------------------


def _answer_form(body: Body, call: Call, request: ChatRequest, offer: Offer) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type not in ("json_object", "json_schema"):
        raise _unknown("response_format.type", wanted.type, "'text', 'json_object' and 'json_schema'")
    form = _ReplySchema("json")
    if wanted.type == "json_schema":
        try:
            found = _format(call.fields["response_format"]).json_schema
        except msgspec.ValidationError:
            found = None
        if found is None:
            raise violation.wrong_value(
                "response_format.json_schema", "Invalid 'response_format.json_schema'."
            )
        form = found
    if not body.get("tools") or body.get("tool_choice") == "NONE":
        # Beside tools it is refused there, even where none may be used.
        for name in ("tools", "tool_choice", "strict_tools"):
            body.pop(name, None)
        body["response_format"] = {"type": "json_object"}
        if form.schema:
            body["response_format"]["json_schema"] = form.schema
    elif body.get("tool_choice") != "REQUIRED":  # else the answer has to be a call, which is not text
        _ask_by_tool(body, form, offer)


def _ask_by_tool(body: Body, form: _ReplySchema, offer: Offer) -> None:
    """The answer as the input of one more tool: one of them must be used then."""
    name = form.name
    while any(isinstance(tool, dict) and tool["function"]["name"] == name for tool in body["tools"]):
        name += "_"
    description = form.description or "Gives the answer, as JSON."
    body["tools"].append(_written(_Function(name, description, form.schema or ANY_OBJECT)))
    body["tool_choice"] = "REQUIRED"
    offer.answer_tool = name


def _unknown(param: str, given: str, known: str) -> InvalidField:
    return violation.wrong_value(
        param, f"Invalid value: '{violation.quote(given)}'. Supported values are: {known}."
    )
