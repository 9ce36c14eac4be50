"""The request of POST /v1/chat/completions: OpenAI's own fields, their types and documented ranges.

Enums, roles and part types stay open strings, and fields that are not named here are skipped undecoded:
vendors extend all of them. Must not know which upstream the request is for.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from headgate.core import violation
from headgate.core.json_kinds import kind_of_value

# gc=False throughout: requests are trees of plain values that live for one request and can form no cycle,
# and a request of two hundred messages would otherwise hasten the collector's next run by as many objects.

TokenCount = Annotated[int, Meta(ge=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
FunctionName = Annotated[str, Meta(max_length=64)]


class JsonObject(Struct, gc=False):
    """Any object; its members are skipped."""


# --- messages -------------------------------------------------------------------------------------


class ImageUrl(Struct, gc=False):
    """A picture: an https URL or a data URI."""

    url: str
    detail: str | None = None


class InputAudio(Struct, gc=False):
    """A sound, in base64."""

    data: str
    format: str


class FileInput(Struct, gc=False):
    """A document, in base64 or by the id of an upload."""

    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class ContentPart(Struct, gc=False):
    """One part of a message; the member named after its type carries it."""

    type: str
    text: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None
    file: FileInput | None = None
    refusal: str | None = None


class CalledFunction(Struct, gc=False):
    """The function that a model called, its arguments still JSON text."""

    name: str
    arguments: str


class CalledTool(Struct, gc=False):
    """The custom tool that a model called."""

    name: str
    input: str


class ToolCall(Struct, gc=False):
    """One call in an assistant's message."""

    id: str
    type: str
    function: CalledFunction | None = None
    custom: CalledTool | None = None


class SpokenReply(Struct, gc=False):
    """An earlier spoken reply, by id."""

    id: str


class Message(Struct, gc=False):
    """One message of any role. Content may be missing or null in all of them, as OpenAI has it."""

    role: str
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    function_call: CalledFunction | None = None
    audio: SpokenReply | None = None


# --- tools ----------------------------------------------------------------------------------------


class Function(Struct, gc=False):
    """A function that the model may call; `parameters` is a JSON Schema and not judged here."""

    name: FunctionName
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class CustomTool(Struct, gc=False):
    """A tool that takes free text or a grammar."""

    name: str
    description: str | None = None
    format: JsonObject | None = None


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
    logit_bias: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
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
        for index, message in enumerate(self.messages):
            if message.content.__class__ is list or message.role in _ROLES_THAT_NEED_MORE:
                _check_message(message, f"messages[{index}]")
            if message.tool_calls:
                _check_tool_calls(message.tool_calls, f"messages[{index}].tool_calls")
        self._check_tools()
        if self.response_format is not None:
            _check_response_format(self.response_format)
        if self.stream_options is not None and not self.stream:
            raise violation.only_when_enabled("stream_options", "stream")
        if self.top_logprobs is not None and not self.logprobs:
            raise violation.only_when_enabled("top_logprobs", "logprobs")
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise violation.not_together("max_tokens", "max_completion_tokens")
        if self.logit_bias:
            _check_logit_bias(self.logit_bias)
        if self.metadata:
            _check_metadata(self.metadata)

    def _check_tools(self) -> None:
        if self.tools is None:
            if self.tool_choice is not None:
                raise violation.only_with("tool_choice", "tools")
            if self.parallel_tool_calls is not None:
                raise violation.only_with("parallel_tool_calls", "tools")
            return
        for index, tool in enumerate(self.tools):
            _need_member(tool, tool.type, ("function", "custom"), f"tools[{index}]")
        choice = self.tool_choice
        if isinstance(choice, ToolChoice):
            _need_member(choice, choice.type, ("function", "custom", "allowed_tools"), "tool_choice")


# --- rules that a type cannot say -----------------------------------------------------------------

_ROLES_THAT_NEED_MORE = {"tool": "tool_call_id", "function": "name"}
_PART_MEMBERS = ("text", "image_url", "input_audio", "file", "refusal")

# Documented for `metadata`: 16 pairs, names of 64 characters, values of 512.
_METADATA_PAIRS = 16
_METADATA_NAME_CHARACTERS = 64
_METADATA_VALUE_CHARACTERS = 512


def _need_member(owner: Struct, kind: str, kinds: tuple[str, ...], param: str) -> None:
    """An object whose `type` is known carries the member of that name."""
    if kind in kinds and getattr(owner, kind) is None:
        raise violation.missing(f"{param}.{kind}")


def _check_message(message: Message, param: str) -> None:
    need = _ROLES_THAT_NEED_MORE.get(message.role)
    if need is not None and getattr(message, need) is None:
        raise violation.missing(f"{param}.{need}")
    if isinstance(message.content, list):
        for index, part in enumerate(message.content):
            _need_member(part, part.type, _PART_MEMBERS, f"{param}.content[{index}]")


def _check_tool_calls(calls: list[ToolCall], param: str) -> None:
    for index, call in enumerate(calls):
        _need_member(call, call.type, ("function", "custom"), f"{param}[{index}]")


def _check_response_format(response_format: ResponseFormat) -> None:
    _need_member(response_format, response_format.type, ("json_schema",), "response_format")


def _check_logit_bias(logit_bias: dict[str, Any]) -> None:
    for token, bias in logit_bias.items():
        if not (token.isascii() and token.isdecimal()):
            raise violation.wrong_value(
                "logit_bias",
                f"Invalid key in 'logit_bias': {violation.quote(token)}. "
                "You should only be submitting non-negative integers.",
            )
        param = f"logit_bias.{violation.quote(token)}"
        # The document says integer, but OpenAI takes 10.0 too, and typed clients send it.
        if bias.__class__ is not int and bias.__class__ is not float:
            raise violation.wrong_type(param, "an integer", kind_of_value(bias))
        if bias < -100:
            raise violation.below_minimum(param, "integer", -100, violation.quote(str(bias)))
        if bias > 100:
            raise violation.above_maximum(param, "integer", 100, violation.quote(str(bias)))


def _check_metadata(metadata: dict[str, Any]) -> None:
    if len(metadata) > _METADATA_PAIRS:
        raise violation.too_many_properties("metadata", _METADATA_PAIRS, len(metadata))
    for name, value in metadata.items():
        if len(name) > _METADATA_NAME_CHARACTERS:
            raise violation.property_name_too_long("metadata", name, _METADATA_NAME_CHARACTERS)
        if not isinstance(value, str):
            raise violation.wrong_type(f"metadata.{name}", "a string", kind_of_value(value))
        if len(value) > _METADATA_VALUE_CHARACTERS:
            raise violation.string_too_long(f"metadata.{name}", _METADATA_VALUE_CHARACTERS, len(value))
