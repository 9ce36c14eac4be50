"""What a request says about functions and the form of its answer, as Gemini's tools and response schema.

Sources: ai.google.dev/gemini-api/docs/function-calling and .../structured-output. Schemas pass as they came:
both places take JSON Schema itself. Must not know the conversation.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from headgate.core import violation
from headgate.core.chat import ChatRequest, Named, ToolChoice
from headgate.core.errors import InvalidField
from headgate.core.ports import Call
from headgate.dialects.unsupported import Unsupported

Written = dict[str, Any]

AUTO, ANY, NONE = "AUTO", "ANY", "NONE"
CHECKED = "VALIDATED"
"""Words or calls, as with AUTO, and calls that keep to their schemas, of some functions only if need be."""


class Offer(Struct):
    """What goes out, and how a reply to it is read."""

    tools: list[Written]
    calling: Written | None = None
    """`functionCallingConfig`."""
    legacy: bool = False
    """The client speaks of `functions`: a call is told as `function_call`."""


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: dict[str, msgspec.Raw] | None = None
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
    description: str | None = None
    schema: dict[str, msgspec.Raw] | None = None


class _Format(Struct):
    json_schema: _ReplySchema | None = None


_raw_tools = msgspec.json.Decoder(list[msgspec.Raw]).decode
_tool = msgspec.json.Decoder(_Tool).decode
_functions = msgspec.json.Decoder(list[_Function]).decode
_allowed = msgspec.json.Decoder(_AllowedChoice).decode
_format = msgspec.json.Decoder(_Format).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode


def read_offer(call: Call, request: ChatRequest, unsupported: Unsupported) -> Offer:
    """The request's tools and choice; raises InvalidField."""
    try:
        if request.tools:
            if request.parallel_tool_calls is False and request.tool_choice != "none":
                unsupported.parameter("parallel_tool_calls")
            return _new_form(call, request)
        if request.functions:
            return _old_form(call, request)
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "tools", "Invalid value for 'tools': 'parameters' is an object."
        ) from None
    return Offer([])


def _new_form(call: Call, request: ChatRequest) -> Offer:
    functions: list[_Function] = []
    own: list[Written] = []
    for index, raw in enumerate(_raw_tools(call.fields["tools"])):
        tool = _tool(raw)
        if tool.type == "custom":
            raise violation.wrong_value(
                f"tools[{index}].type", "Invalid value: 'custom'. This model supports 'function' only."
            )
        if tool.function is not None:
            functions.append(tool.function)
            continue
        written = _object(raw)  # a tool of Gemini's own, such as `googleSearch`: they have no `type` there
        del written["type"]
        own.append(written)
    offer = Offer(_declared(functions) + own)
    if functions:
        offer.calling = _choice(call, request.tool_choice, functions)
    return offer


def _old_form(call: Call, request: ChatRequest) -> Offer:
    functions = _functions(call.fields["functions"])
    choice = request.function_call
    if isinstance(choice, Named):
        calling: Written | None = _only(choice.name, functions, "function_call", "functions")
    elif choice == "none":
        calling = {"mode": NONE}
    elif choice in (None, "auto"):
        calling = _auto(functions)
    else:
        raise _unknown("function_call", str(choice), "'none' and 'auto'")
    return Offer(_declared(functions), calling, legacy=True)


def _declared(functions: list[_Function]) -> list[Written]:
    declarations: list[Written] = []
    for function in functions:
        declaration: Written = {"name": function.name}
        if function.description:
            declaration["description"] = function.description
        if function.parameters:
            declaration["parametersJsonSchema"] = function.parameters
        declarations.append(declaration)
    return [{"functionDeclarations": declarations}] if declarations else []


def _choice(call: Call, choice: str | ToolChoice | None, functions: list[_Function]) -> Written | None:
    if choice in (None, "auto"):
        return _auto(functions)
    if choice == "none":
        return {"mode": NONE}
    if choice == "required":
        return {"mode": ANY}
    if isinstance(choice, ToolChoice) and choice.function is not None:
        return _only(choice.function.name, functions, "tool_choice", "tools")
    if isinstance(choice, ToolChoice) and choice.type == "allowed_tools":
        return _allowed_choice(call, functions)
    given = choice.type if isinstance(choice, ToolChoice) else str(choice)
    raise _unknown("tool_choice", given, "'none', 'auto', 'required', a function and 'allowed_tools'")


def _auto(functions: list[_Function]) -> Written | None:
    return {"mode": CHECKED} if any(function.strict for function in functions) else None


def _only(name: str, functions: list[_Function], param: str, among: str) -> Written:
    if name not in {function.name for function in functions}:
        raise violation.wrong_value(
            param, f"Invalid value for '{param}': function '{violation.quote(name)}' not found in '{among}'."
        )
    return {"mode": ANY, "allowedFunctionNames": [name]}


def _allowed_choice(call: Call, functions: list[_Function]) -> Written:
    try:
        allowed = _allowed(call.fields["tool_choice"]).allowed_tools
    except msgspec.ValidationError:
        raise violation.wrong_value(
            "tool_choice.allowed_tools.tools", "Invalid value: expected the names of allowed functions."
        ) from None
    if allowed.mode not in ("auto", "required"):
        raise _unknown("tool_choice.allowed_tools.mode", allowed.mode, "'auto' and 'required'")
    names = [
        name
        for tool in allowed.tools
        if tool.function is not None
        for name in _only(tool.function.name, functions, "tool_choice", "tools")["allowedFunctionNames"]
    ]
    if not names:
        return {"mode": NONE}
    return {"mode": ANY if allowed.mode == "required" else CHECKED, "allowedFunctionNames": names}


# --- the form of the answer -----------------------------------------------------------------------


def write_answer_form(config: Written, call: Call, request: ChatRequest) -> None:
    """Adds the form to `generationConfig`; raises InvalidField."""
    wanted = request.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type not in ("json_object", "json_schema"):
        raise _unknown("response_format.type", wanted.type, "'text', 'json_object' and 'json_schema'")
    config["responseMimeType"] = "application/json"
    if wanted.type == "json_object":
        return
    try:
        form = _format(call.fields["response_format"]).json_schema
    except msgspec.ValidationError:
        form = None
    if form is None:
        raise violation.wrong_value("response_format.json_schema", "Invalid 'response_format.json_schema'.")
    if form.schema:
        described = {"description": form.description} if form.description else {}
        config["responseJsonSchema"] = {**described, **form.schema}


def _unknown(param: str, given: str, known: str) -> InvalidField:
    return violation.wrong_value(
        param, f"Invalid value: '{violation.quote(given)}'. Supported values are: {known}."
    )
