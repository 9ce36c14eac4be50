"""The messages of a conversation: OpenAI's own fields and their types, for every role.

Roles and part types stay open strings: vendors have more of them. Must not know the request around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from headgate.core import violation

# gc=False throughout: a request is a tree of plain values that can form no cycle, and a conversation of two
# hundred messages would otherwise hasten the collector's next run by as many objects.


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


class CacheBreakpoint(Struct, gc=False):
    """Marks where a cached prompt may end."""

    mode: str


class ContentPart(Struct, gc=False):
    """One part of a message; the member named after its type carries it."""

    type: str
    text: str | None = None
    image_url: ImageUrl | None = None
    input_audio: InputAudio | None = None
    file: FileInput | None = None
    refusal: str | None = None
    prompt_cache_breakpoint: CacheBreakpoint | None = None


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


# --- rules that a type cannot say -----------------------------------------------------------------

PART_MEMBERS = ("text", "image_url", "input_audio", "file", "refusal")
"""A content part of one of these types carries the member of that name; other types are a vendor's own."""
TOOL_MEMBERS = ("function", "custom")
"""The same for tools and calls."""
_ROLES_THAT_NEED_MORE = {"tool": "tool_call_id", "function": "name"}


class Typed(Protocol):
    """Any object with a `type`."""

    type: str


def check_member(owner: Typed, members: tuple[str, ...], param: str) -> None:
    """Raises InvalidField for an object without the member that its type is named after."""
    if owner.type in members and getattr(owner, owner.type) is None:
        raise violation.missing(f"{param}.{owner.type}")


def check_members(owners: Sequence[Typed], members: tuple[str, ...], param: str) -> None:
    """Checks every object of an array."""
    for index, owner in enumerate(owners):
        if owner.type in members and getattr(owner, owner.type) is None:
            raise violation.missing(f"{param}[{index}].{owner.type}")


def check_messages(messages: list[Message]) -> None:
    """Raises InvalidField for a message that lacks what its role, parts or calls need."""
    for index, message in enumerate(messages):
        if message.role in _ROLES_THAT_NEED_MORE:
            need = _ROLES_THAT_NEED_MORE[message.role]
            if getattr(message, need) is None:
                raise violation.missing(f"messages[{index}].{need}")
        if message.content.__class__ is list:
            check_members(message.content, PART_MEMBERS, f"messages[{index}].content")
        if message.tool_calls:
            check_members(message.tool_calls, TOOL_MEMBERS, f"messages[{index}].tool_calls")
