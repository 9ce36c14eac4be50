"""A request's tools, choice and form of answer, in Converse's words.

Sources: docs.aws.amazon.com/bedrock/latest/userguide/tool-use.html and .../structured-output.html. What they
mean is read by `anthropic_tools`, for Converse follows that API here; only the spelling is its own.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headgate.core.chat import ChatRequest
from headgate.core.ports import Call
from headgate.dialects.anthropic_parameters import asks_to_think
from headgate.dialects.anthropic_tools import Offer, Written, read_offer
from headgate.dialects.bedrock_parts import cache_point
from headgate.dialects.unsupported import Unsupported

Body = dict[str, Any]


def write_tools(
    body: Body, call: Call, request: ChatRequest, called: list[str], unsupported: Unsupported
) -> Offer:
    """Adds `toolConfig` and the answer's form to the body; raises InvalidField.

    `called` names the functions of earlier turns: such a conversation needs its tools.
    """
    offer = read_offer(call, request, called, thinking=asks_to_think(call, request))
    if request.parallel_tool_calls is False and request.tools:
        unsupported.parameter("parallel_tool_calls")
    kind = offer.choice["type"] if offer.choice is not None else "auto"
    if kind == "none" and called and (request.tools or request.functions):
        # Calls of earlier turns need their tools, and there is no way to say that none may be called.
        unsupported.parameter("tool_choice" if request.tools else "function_call")
    if offer.tools and (kind != "none" or called):
        config: Body = {"tools": [spec for tool in offer.tools for spec in _specs(tool)]}
        if kind == "any":
            config["toolChoice"] = {"any": {}}
        elif kind == "tool" and offer.choice is not None:
            config["toolChoice"] = {"tool": {"name": offer.choice["name"]}}
        body["toolConfig"] = config
    if offer.output_format is not None:
        body["outputConfig"] = {**body.get("outputConfig", {}), "textFormat": _text_format(offer, request)}
    return offer


def _specs(tool: Written | msgspec.Raw) -> list[Body]:
    """A tool, and the cache point after it."""
    if isinstance(tool, msgspec.Raw):
        # One of Converse's own, such as `systemTool` or `cachePoint`: they have no `type` there.
        own = msgspec.json.decode(tool, type=Body)
        own.pop("type", None)
        return [own]
    spec: Body = {"name": tool["name"]}
    if "description" in tool:
        spec["description"] = tool["description"]
    spec["inputSchema"] = {"json": tool["input_schema"]}
    if "strict" in tool:
        spec["strict"] = tool["strict"]
    mark = tool.get("cache_control")
    return [{"toolSpec": spec}] if mark is None else [{"toolSpec": spec}, cache_point(mark)]


def _text_format(offer: Offer, request: ChatRequest) -> Body:
    assert offer.output_format is not None
    # The schema travels as text there.
    schema = msgspec.json.encode(offer.output_format["schema"])
    wanted: Body = {"schema": msgspec.json.format(schema, indent=-1).decode()}
    named = request.response_format.json_schema if request.response_format is not None else None
    if named is not None:
        wanted["name"] = named.name
        if named.description:
            wanted["description"] = named.description
    return {"type": "json_schema", "structure": {"jsonSchema": wanted}}
