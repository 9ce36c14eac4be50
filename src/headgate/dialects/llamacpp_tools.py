"""What a request says about functions: which the model may call, whether it must, how many times.

The old `functions` and the new `tools` become one offer. Must not know how the model is held to it.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.chat import ChatRequest, Named, ToolChoice
from headgate.core.errors import InvalidField
from headgate.core.ports import Call
from headgate.dialects.json_schema import enforceable
from headgate.dialects.json_schema_rules import Budget, Schema

NAME = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
"""OpenAI's letters, and those with which other makers divide names."""

NO_PARAMETERS: Schema = {"type": "object", "properties": {}, "additionalProperties": False}


class Offered(msgspec.Struct, frozen=True):
    """A function that may be called."""

    name: str
    description: str | None
    parameters: Schema

    def told(self) -> dict[str, Any]:
        """As a template shows it to the model."""
        about = {"description": self.description} if self.description is not None else {}
        return {"name": self.name, **about, "parameters": self.parameters}


class Offer(msgspec.Struct, frozen=True):
    """All that a request says about functions."""

    functions: list[Offered]
    forced: bool
    """The reply must be a call."""
    many: bool
    """It may be more than one."""
    legacy: bool
    """The client speaks of `functions`."""


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str
    function: _Function | None = None


class _AllowedTool(msgspec.Struct):
    type: str
    function: Named | None = None


class _AllowedTools(msgspec.Struct):
    mode: str
    tools: list[_AllowedTool]


class _AllowedChoice(msgspec.Struct):
    allowed_tools: _AllowedTools


_tools = msgspec.json.Decoder(list[_Tool]).decode
_functions = msgspec.json.Decoder(list[_Function]).decode
_allowed = msgspec.json.Decoder(_AllowedChoice).decode


def read_offer(call: Call, request: ChatRequest, budget: Budget) -> Offer | None:
    """The request's offer, or None when nothing may be called; raises InvalidField."""
    if request.tools:
        return _new_form(call, request, budget)
    if request.functions:
        return _old_form(call, request, budget)
    return None


def _new_form(call: Call, request: ChatRequest, budget: Budget) -> Offer | None:
    offered: list[Offered] = []
    for index, tool in enumerate(_tools(call.fields["tools"])):
        if tool.type != "function" or tool.function is None:
            raise violation.wrong_value(
                f"tools[{index}].type",
                f"Invalid value: '{violation.quote(tool.type)}'. This model supports 'function' only.",
            )
        offered.append(_offered(tool.function, f"tools[{index}].function", budget))
    forced, names = _choice(call, request.tool_choice, [function.name for function in offered])
    if not names:
        return None
    offered = [function for function in offered if function.name in names]
    one_named = isinstance(request.tool_choice, ToolChoice) and request.tool_choice.type == "function"
    return Offer(offered, forced, request.parallel_tool_calls is not False and not one_named, legacy=False)


def _old_form(call: Call, request: ChatRequest, budget: Budget) -> Offer | None:
    offered = [
        _offered(function, f"functions[{index}]", budget)
        for index, function in enumerate(_functions(call.fields["functions"]))
    ]
    choice = request.function_call
    if isinstance(choice, Named):
        if all(function.name != choice.name for function in offered):
            raise _not_offered("function_call", choice.name, "functions")
        offered = [function for function in offered if function.name == choice.name]
    elif choice not in (None, "auto", "none"):
        raise _unknown_choice("function_call", str(choice), "'none' and 'auto'")
    if choice == "none":
        return None
    return Offer(offered, isinstance(choice, Named), many=False, legacy=True)


def _offered(function: _Function, at: str, budget: Budget) -> Offered:
    if not NAME.fullmatch(function.name):
        raise violation.wrong_value(
            f"{at}.name",
            f"Invalid '{at}.name': string does not match pattern. Expected a string that matches the pattern "
            f"'^{NAME.pattern}$'.",
        )
    if function.parameters is None:
        return Offered(function.name, function.description, NO_PARAMETERS)
    param = f"{at}.parameters"
    parameters = enforceable(
        {"type": "object"} if not function.parameters else function.parameters,
        param,
        budget,
        strict=function.strict is True,
    )
    if parameters.get("type", "object") != "object" or "enum" in parameters or "const" in parameters:
        raise violation.wrong_value(param, f"Invalid schema for '{param}': schema must be of type 'object'.")
    return Offered(function.name, function.description, parameters)


def _choice(call: Call, choice: str | ToolChoice | None, names: list[str]) -> tuple[bool, list[str]]:
    """Whether a call is forced, and which names may be called."""
    if isinstance(choice, ToolChoice):
        return _wordy_choice(call, choice, names)
    match choice:
        case None | "auto":
            return False, names
        case "required":
            return True, names
        case "none":
            return False, []
    raise _unknown_choice("tool_choice", choice, "'none', 'auto' and 'required'")


def _wordy_choice(call: Call, choice: ToolChoice, names: list[str]) -> tuple[bool, list[str]]:
    if choice.type == "function" and choice.function is not None:
        if choice.function.name not in names:
            raise _not_offered("tool_choice", choice.function.name, "tools")
        return True, [choice.function.name]
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        try:
            allowed = _allowed(call.fields["tool_choice"]).allowed_tools
        except msgspec.ValidationError:
            raise violation.wrong_value(
                "tool_choice", "Invalid 'tool_choice': not a list of allowed tools."
            ) from None
        if allowed.mode not in ("auto", "required"):
            raise _unknown_choice("tool_choice.allowed_tools.mode", allowed.mode, "'auto' and 'required'")
        chosen = [tool.function.name for tool in allowed.tools if tool.function is not None]
        for name in chosen:
            if name not in names:
                raise _not_offered("tool_choice", name, "tools")
        return allowed.mode == "required", chosen
    raise _unknown_choice("tool_choice.type", choice.type, "'function' and 'allowed_tools'")


def _not_offered(param: str, name: str, among: str) -> InvalidField:
    return violation.wrong_value(
        param, f"Invalid value for '{param}': function '{violation.quote(name)}' not found in '{among}'."
    )


def _unknown_choice(param: str, given: str, known: str) -> InvalidField:
    return violation.wrong_value(
        param, f"Invalid value: '{violation.quote(given)}'. Supported values are: {known}."
    )
