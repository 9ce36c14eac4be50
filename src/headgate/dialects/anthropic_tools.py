"""What a request says about functions and the form of its answer, as Anthropic's tools and output format.

Sources: platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools, .../strict-tool-use and
.../build-with-claude/structured-outputs. Must not know the conversation but for the names called in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.chat import ChatRequest, Named, ToolChoice
from headgate.core.errors import InvalidField
from headgate.core.ports import Call
from headgate.dialects.anthropic_parts import mark

Written = dict[str, Any]
Schema = dict[str, msgspec.Raw]

NO_PARAMETERS = {"type": "object", "properties": {}}
ANY_OBJECT: Schema = {"type": msgspec.Raw(b'"object"')}


class Offer(Struct):
    """What goes out, and how a reply to it is read."""

    tools: list[Written | msgspec.Raw]
    choice: Written | None = None
    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""
    answer_tool: str | None = None
    """The tool whose input is the answer itself, since no output format fits."""
    output_format: Written | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: Schema | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class _Tool(Struct):
    type: str
    function: _Function | None = None
    cache_control: dict[str, Any] | None = None


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
    strict: bool | None = None


class _Format(Struct):
    json_schema: _ReplySchema | None = None


_raw_tools = msgspec.json.Decoder(list[msgspec.Raw]).decode
_tool = msgspec.json.Decoder(_Tool).decode
_functions = msgspec.json.Decoder(list[_Function]).decode
_allowed = msgspec.json.Decoder(_AllowedChoice).decode
_format = msgspec.json.Decoder(_Format).decode


def read_offer(call: Call, request: ChatRequest, called: Sequence[str], *, thinking: bool) -> Offer:
    """The request's tools, choice and answer form; raises InvalidField.

    `called` names the functions of earlier turns, `thinking` tells that the model was asked to think.
    """
    try:
        if request.tools:
            offer = _new_form(call, request)
        elif request.functions:
            offer = _old_form(call, request)
        else:
            offer = Offer([])
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "tools", "Invalid value for 'tools': 'parameters' and 'cache_control' are objects."
        ) from None
    if called and not offer.tools:
        # Calls of earlier turns need their tools, which the client has taken away: none may be called.
        offer.tools = [{"name": name, "input_schema": NO_PARAMETERS} for name in called]
        offer.choice = {"type": "none"}
    _answer_form(call, request, offer, thinking=thinking)
    return offer


# --- tools ----------------------------------------------------------------------------------------


def _new_form(call: Call, request: ChatRequest) -> Offer:
    tools: list[Written | msgspec.Raw] = []
    names: list[str] = []
    for index, raw in enumerate(_raw_tools(call.fields["tools"])):
        tool = _tool(raw)
        if tool.type == "custom":
            raise violation.wrong_value(
                f"tools[{index}].type",
                "Invalid value: 'custom'. This model supports 'function' only.",
            )
        if tool.function is None:
            tools.append(raw)  # a tool of Anthropic's own, such as its web search
            continue
        tools.append(mark(_written(tool.function), tool.cache_control))
        names.append(tool.function.name)
    choice = request.tool_choice
    written: Written | None
    if isinstance(choice, ToolChoice) and choice.type == "allowed_tools":
        tools, written = _allowed_choice(call, tools, names)
    else:
        written = _choice(choice, names)
    if request.parallel_tool_calls is False and (written is None or written["type"] != "none"):
        written = {**(written or {"type": "auto"}), "disable_parallel_tool_use": True}
    return Offer(tools, written)


def _written(function: _Function) -> Written:
    written: Written = {"name": function.name}
    if function.description:
        written["description"] = function.description
    written["input_schema"] = _object_schema(function.parameters)
    if function.strict:
        written["strict"] = True
    return mark(written, function.cache_control)


def _object_schema(schema: Schema | None) -> Written:
    if not schema:
        return NO_PARAMETERS
    return {**schema} if "type" in schema else {**ANY_OBJECT, **schema}


def _choice(choice: str | ToolChoice | None, names: Sequence[str]) -> Written | None:
    match choice:
        case None:
            return None
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case ToolChoice(type="function", function=Named(name=name)):
            if name not in names:
                raise _not_offered("tool_choice", name, "tools")
            return {"type": "tool", "name": name}
        case ToolChoice(type=kind):
            raise _unknown("tool_choice.type", kind, "'function' and 'allowed_tools'")
    raise _unknown("tool_choice", str(choice), "'none', 'auto' and 'required'")


def _allowed_choice(
    call: Call, tools: list[Written | msgspec.Raw], names: Sequence[str]
) -> tuple[list[Written | msgspec.Raw], Written]:
    """Only the allowed tools are shown: there is no choice among some of them."""
    try:
        allowed = _allowed(call.fields["tool_choice"]).allowed_tools
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "tool_choice", "Invalid 'tool_choice': not a list of allowed tools."
        ) from None
    chosen = {tool.function.name for tool in allowed.tools if tool.function is not None}
    for name in chosen:
        if name not in names:
            raise _not_offered("tool_choice", name, "tools")
    if allowed.mode not in ("auto", "required"):
        raise _unknown("tool_choice.allowed_tools.mode", allowed.mode, "'auto' and 'required'")
    kept = [tool for tool in tools if isinstance(tool, dict) and tool["name"] in chosen]
    return [*kept], {"type": "auto" if allowed.mode == "auto" else "any"}


def _old_form(call: Call, request: ChatRequest) -> Offer:
    functions = _functions(call.fields["functions"])
    choice = request.function_call
    names = [function.name for function in functions]
    written: Written
    if isinstance(choice, Named):
        if choice.name not in names:
            raise _not_offered("function_call", choice.name, "functions")
        written = {"type": "tool", "name": choice.name, "disable_parallel_tool_use": True}
    elif choice == "none":
        written = {"type": "none"}
    elif choice in (None, "auto"):
        # The old form has room for one call.
        written = {"type": "auto", "disable_parallel_tool_use": True}
    else:
        raise _unknown("function_call", str(choice), "'none' and 'auto'")
    return Offer([_written(function) for function in functions], written, legacy=True)


# --- the form of the answer -----------------------------------------------------------------------


def _answer_form(call: Call, request: ChatRequest, offer: Offer, *, thinking: bool) -> None:
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type not in ("json_object", "json_schema"):
        raise _unknown("response_format.type", wanted.type, "'text', 'json_object' and 'json_schema'")
    if wanted.type == "json_object":
        if thinking:
            raise InvalidField(
                "'response_format' of type 'json_object' cannot be had together with reasoning here: use "
                "'json_schema' with 'strict'.",
                param="response_format",
                code="invalid_parameter_combination",
            )
        _ask_by_tool(offer, "json", "Gives the answer, as JSON.", ANY_OBJECT)
        return
    try:
        form = _format(call.fields["response_format"]).json_schema
    except msgspec.ValidationError:
        form = None
    if form is None:
        raise violation.wrong_value("response_format.json_schema", "Invalid 'response_format.json_schema'.")
    schema = form.schema or ANY_OBJECT
    # Output formats take what strict schemas are made of. A looser one (open objects, patterns) would be
    # refused, but a tool takes it: except while the model thinks, when no tool can be forced.
    if form.strict or thinking or bytes(schema.get("type", b"")) != b'"object"':
        offer.output_format = {"type": "json_schema", "schema": schema}
    else:
        _ask_by_tool(offer, form.name, form.description or "Gives the answer, as JSON.", schema)


def _ask_by_tool(offer: Offer, name: str, description: str, schema: Schema) -> None:
    """The answer as the input of a tool: forced alone, or one of those that the model must choose from."""
    kind = offer.choice["type"] if offer.choice else "auto"
    if offer.tools and kind in ("any", "tool"):
        return  # the answer has to be a call, which is not text
    taken = {tool["name"] for tool in offer.tools if isinstance(tool, dict)}
    while name in taken:
        name += "_"
    alone = not offer.tools or kind == "none"
    offer.tools.append({"name": name, "description": description, "input_schema": schema})
    offer.answer_tool = name
    if alone:
        offer.choice = {"type": "tool", "name": name, "disable_parallel_tool_use": True}
    else:
        offer.choice = {**(offer.choice or {}), "type": "any"}


def _not_offered(param: str, name: str, among: str) -> InvalidField:
    return violation.wrong_value(
        param, f"Invalid value for '{param}': function '{violation.quote(name)}' not found in '{among}'."
    )


def _unknown(param: str, given: str, known: str) -> InvalidField:
    return violation.wrong_value(
        param, f"Invalid value: '{violation.quote(given)}'. Supported values are: {known}."
    )
