"""The request of POST /v1/chat/completions: OpenAI's own fields, their types and documented ranges.

Enums, roles and part types stay open strings, and fields that are not named here are skipped undecoded:
vendors extend all of them. Must not know which upstream the request is for.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Raw, Struct

from headgate.core import json_kinds, violation
from headgate.core.message import (
    PART_MEMBERS,
    TOOL_MEMBERS,
    ContentPart,
    Message,
    check_member,
    check_members,
    check_messages,
)

# gc=False, see message.py.

TokenCount = Annotated[int, Meta(ge=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
FunctionName = Annotated[str, Meta(min_length=1, max_length=64)]


class JsonObject(Struct, gc=False):
    """Any object; its members are skipped."""


# --- tools ----------------------------------------------------------------------------------------


class Function(Struct, gc=False):
    """A function that the model may call; `parameters` is a JSON Schema and not judged here."""

    name: FunctionName
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Grammar(Struct, gc=False):
    """What the text given to a custom tool must look like."""

    definition: str
    syntax: str


class CustomToolFormat(Struct, gc=False):
    """Free text, or text that follows a grammar."""

    type: str
    grammar: Grammar | None = None


class CustomTool(Struct, gc=False):
    """A tool that takes text."""

    name: str
    description: str | None = None
    format: CustomToolFormat | None = None


class Tool(Struct, gc=False):
    """One tool on offer."""

    type: str
    function: Function | None = None
    custom: CustomTool | None = None


class Named(Struct, gc=False):
    """A choice by name."""

    name: str


class AllowedTools(Struct, gc=False):
    """A choice among some of the tools."""

    mode: str
    tools: list[JsonObject]


class ToolChoice(Struct, gc=False):
    """A choice that says more than a word."""

    type: str
    function: Named | None = None
    custom: Named | None = None
    allowed_tools: AllowedTools | None = None


# --- the rest -------------------------------------------------------------------------------------


class StreamOptions(Struct, gc=False):
    """What a stream carries beside content."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ReplySchema(Struct, gc=False):
    """The JSON Schema that a reply must meet."""

    name: FunctionName
    description: str | None = None
    schema: JsonObject | None = None
    strict: bool | None = None


class ResponseFormat(Struct, gc=False):
    """Text, any JSON, or JSON that meets a schema."""

    type: str
    json_schema: ReplySchema | None = None


class Voice(Struct, gc=False):
    """A custom voice."""

    id: str


class AudioOutput(Struct, gc=False):
    """How a spoken reply sounds."""

    voice: str | Voice
    format: str


class Prediction(Struct, gc=False):
    """Text that much of the reply is expected to repeat."""

    type: str
    content: str | Annotated[list[ContentPart], Meta(min_length=1)]


class Place(Struct, gc=False):
    """Roughly where the user is."""

    country: str | None = None
    region: str | None = None
    city: str | None = None
    timezone: str | None = None


class UserLocation(Struct, gc=False):
    """Where a web search should pretend to be."""

    type: str
    approximate: Place


class WebSearchOptions(Struct, gc=False):
    """How to search the web for the reply."""

    user_location: UserLocation | None = None
    search_context_size: str | None = None


class PromptCacheOptions(Struct, gc=False):
    """How long and in which way a prompt is cached."""

    ttl: str | None = None
    mode: str | None = None


class ModerationMode(Struct, gc=False):
    """What to do with one direction."""

    mode: str


class ModerationPolicy(Struct, gc=False):
    """What to do with either direction."""

    input: ModerationMode | None = None
    output: ModerationMode | None = None


class Moderation(Struct, gc=False):
    """Moderation run along with the request."""

    model: str
    policy: ModerationPolicy | None = None


class ChatRequest(Struct, gc=False):
    """A chat request whose known fields have their types and ranges; a bad combination raises InvalidField.

    Fields stand in the order in which clients tend to write them: the decoder looks for the next name after
    the last one found.
    """

    aliases: ClassVar[dict[str, str]] = {"seen": "seed"}
    """The reference page spells `seed` that way; what is forwarded is `seed`."""

    model: str
    messages: Annotated[list[Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    stop: str | Annotated[list[str], Meta(min_length=1, max_length=4)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    seen: Seed | None = None
    user: str | None = None
    tools: Annotated[list[Tool], Meta(max_length=128)] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Raw] | None = None
    metadata: dict[str, Raw] | None = None
    store: bool | None = None
    service_tier: str | None = None
    modalities: list[str] | None = None
    audio: AudioOutput | None = None
    prediction: Prediction | None = None
    verbosity: str | None = None
    web_search_options: WebSearchOptions | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: PromptCacheOptions | None = None
    safety_identifier: Annotated[str, Meta(max_length=64)] | None = None
    moderation: Moderation | None = None
    functions: Annotated[list[Function], Meta(min_length=1, max_length=128)] | None = None
    function_call: str | Named | None = None

    def __post_init__(self) -> None:
        check_messages(self.messages)
        if self.tools is not None or self.tool_choice is not None or self.parallel_tool_calls is not None:
            self._check_tools()
        if self.function_call is not None and self.functions is None:
            raise violation.only_with("function_call", "functions")
        if self.response_format is not None:
            check_member(self.response_format, ("json_schema",), "response_format")
        if self.prediction is not None and isinstance(self.prediction.content, list):
            check_members(self.prediction.content, PART_MEMBERS, "prediction.content")
        self._check_switches()
        if self.logit_bias:
            check_logit_bias(self.logit_bias)
        if self.metadata:
            _check_metadata(self.metadata)

    def _check_tools(self) -> None:
        if self.tools is not None:
            check_members(self.tools, TOOL_MEMBERS, "tools")
            for index, tool in enumerate(self.tools):
                if tool.custom is not None and tool.custom.format is not None:
                    check_member(tool.custom.format, ("grammar",), f"tools[{index}].custom.format")
            if isinstance(self.tool_choice, ToolChoice):
                check_member(self.tool_choice, _CHOICE_MEMBERS, "tool_choice")
        elif self.tool_choice is not None:
            raise violation.only_with("tool_choice", "tools")
        elif self.parallel_tool_calls is not None:
            raise violation.only_with("parallel_tool_calls", "tools")

    def _check_switches(self) -> None:
        if self.stream_options is not None and not self.stream:
            raise violation.only_when_enabled("stream_options", "stream")
        if self.top_logprobs is not None and not self.logprobs:
            raise violation.only_when_enabled("top_logprobs", "logprobs")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise violation.not_together("max_tokens", "max_completion_tokens")


# --- rules that a type cannot say -----------------------------------------------------------------

_CHOICE_MEMBERS = ("function", "custom", "allowed_tools")

# What the document says of `metadata`.
_METADATA_PAIRS = 16
_METADATA_NAME_CHARACTERS = 64
_METADATA_VALUE_CHARACTERS = 512


def check_logit_bias(logit_bias: dict[str, Raw]) -> None:
    """Raises InvalidField for what is no token, or no bias from -100 to 100."""
    for token, bias in logit_bias.items():
        if not (token.isascii() and token.isdecimal()):
            raise violation.wrong_value(
                "logit_bias",
                f"Invalid key in 'logit_bias': {violation.quote(token)}. "
                "You should only be submitting non-negative integers.",
            )
        param = f"logit_bias.{violation.quote(token)}"
        text = bytes(bias)
        kind = json_kinds.kind_of(text)
        # The document says integer, but OpenAI takes 10.0 as well, and typed clients send it.
        if kind not in (json_kinds.INTEGER, json_kinds.DECIMAL):
            raise violation.wrong_type(param, "an integer", kind)
        number = float(text)
        if number < -100:
            raise violation.below_minimum(param, "integer", -100, violation.quote(text.decode()))
        if number > 100:
            raise violation.above_maximum(param, "integer", 100, violation.quote(text.decode()))


def _check_metadata(metadata: dict[str, Raw]) -> None:
    if len(metadata) > _METADATA_PAIRS:
        raise violation.too_many_properties("metadata", _METADATA_PAIRS, len(metadata))
    for name, value in metadata.items():
        if len(name) > _METADATA_NAME_CHARACTERS:
            raise violation.property_name_too_long("metadata", name, _METADATA_NAME_CHARACTERS)
        kind = json_kinds.kind_of(bytes(value))
        if kind != json_kinds.STRING:
            raise violation.wrong_type(f"metadata.{name}", "a string", kind)
        length = len(msgspec.json.decode(value, type=str))
        if length > _METADATA_VALUE_CHARACTERS:
            raise violation.string_too_long(f"metadata.{name}", _METADATA_VALUE_CHARACTERS, length)
