"""Writes a conversation as llama.cpp's templates take it; refuses what the model behind it cannot read.

Every message is written anew from its checked fields: a name that was given twice must not mean one thing
here and another there, since llama.cpp would fetch a picture's address itself. Must not know the rest of the
request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headgate.core import violation
from headgate.core.errors import InvalidField
from headgate.core.message import CalledFunction, ContentPart, Message
from headgate.dialects.call_grammar import CLOSING, OPENING

ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
PICTURES_FROM = frozenset(("user", "tool"))
"""Whose messages may hold pictures."""

Written = dict[str, Any]


class _Reasoning(msgspec.Struct):
    """What OpenAI's messages do not have, and templates of reasoning models read."""

    reasoning_content: str | None = None


_reasonings = msgspec.json.Decoder(list[_Reasoning]).decode
_json = msgspec.json.Decoder().decode


def write_messages(
    messages: Sequence[Message], raw: msgspec.Raw | bytes, *, images: bool, tools_in_template: bool
) -> list[Written]:
    """The messages for llama.cpp; raises InvalidField for a role or a content part that it cannot take.

    `raw` is the same list as it came. A template that knows no tools gets calls and their results in words.
    """
    written: list[Written] = []
    reasonings = _reasonings(raw) if b"reasoning_content" in bytes(raw) else None
    call_id = ""
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if message.role not in ROLES:
            raise violation.wrong_value(
                f"{at}.role",
                f"Invalid value: '{violation.quote(message.role)}'. Supported values are: 'system', "
                "'developer', 'user', 'assistant', 'tool' and 'function'.",
            )
        content = _content(message, at, images=images)
        if message.role == "assistant":
            calls = _calls(message, at)
            if calls:
                call_id = calls[-1]["id"]
            made: Written = {"role": "assistant", "content": content if content or not calls else ""}
            if calls and tools_in_template:
                made["tool_calls"] = calls
            elif calls:
                made["content"] = "\n".join(filter(None, [_text(content), *map(_call_in_words, calls)]))
            if reasonings is not None and reasonings[index].reasoning_content:
                made["reasoning_content"] = reasonings[index].reasoning_content
        elif message.role in ("tool", "function"):
            # The old form names the function and no call: it was the last one.
            made = {"role": "tool", "content": content, "tool_call_id": message.tool_call_id or call_id}
            if not tools_in_template:
                words = f"<tool_response>\n{_text(content)}\n</tool_response>"
                made = {"role": "user", "content": words}
        else:
            made = {"role": message.role, "content": content}
        if message.name is not None and made["role"] != "assistant":
            made["name"] = message.name
        written.append(made)
    return written


def tools_in_words(messages: list[Written], functions: Sequence[Written]) -> list[Written]:
    """The same conversation, opened by what a template would have said of the tools."""
    lines = "\n".join(msgspec.json.encode(function).decode() for function in functions)
    words = (
        f"You may call functions. These are on offer, one on each line:\n<tools>\n{lines}\n</tools>\n"
        "To call one, answer with its name and arguments as JSON between these marks:\n"
        f'{OPENING}\n{{"name": <name>, "arguments": <arguments>}}\n{CLOSING}'
    )
    if messages and messages[0]["role"] in ("system", "developer"):
        opening = f"{_text(messages[0]['content'])}\n\n{words}"
        return [{**messages[0], "content": opening}, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]


def _content(message: Message, at: str, *, images: bool) -> str | list[Written]:
    content = message.content
    if content is None:
        return message.refusal or ""
    if isinstance(content, str):
        return content
    return [
        _part(part, f"{at}.content[{index}]", message.role, images=images)
        for index, part in enumerate(content)
    ]


def _part(part: ContentPart, at: str, role: str, *, images: bool) -> Written:
    if part.type == "text":
        return {"type": "text", "text": part.text}
    if part.type == "refusal":
        return {"type": "text", "text": part.refusal}
    if part.type == "image_url" and part.image_url is not None:
        return {
            "type": "image_url",
            "image_url": {"url": _picture(part.image_url.url, at, role, images=images)},
        }
    kinds = "'text' and 'image_url'" if images else "'text'"
    raise violation.wrong_value(
        f"{at}.type",
        f"Invalid value: '{violation.quote(part.type)}'. This model supports content of type {kinds}.",
    )


def _picture(url: str, at: str, role: str, *, images: bool) -> str:
    if not images:
        raise InvalidField(
            "Invalid content type. image_url is not supported by this model.", param=at, code="invalid_value"
        )
    if role not in PICTURES_FROM:
        raise InvalidField(
            f"Invalid content type. image_url is not supported for role '{role}'.",
            param=at,
            code="invalid_value",
        )
    # llama.cpp fetches http:// and reads file:// by itself, from wherever this machine can reach.
    if not url.startswith("data:image/"):
        raise violation.wrong_value(
            f"{at}.image_url.url", "This model takes pictures as data URLs (data:image/...;base64,...) only."
        )
    return url


def _calls(message: Message, at: str) -> list[Written]:
    calls: list[Written] = []
    for index, call in enumerate(message.tool_calls or ()):
        place = f"{at}.tool_calls[{index}]"
        if call.function is None:
            raise violation.wrong_value(f"{place}.type", "This model supports calls of type 'function' only.")
        calls.append(_call(call.id, call.function, f"{place}.function"))
    if message.function_call is not None:
        number = f"call_{at.removeprefix('messages[')[:-1]}"
        calls.append(_call(number, message.function_call, f"{at}.function_call"))
    return calls


def _call(number: str, function: CalledFunction, at: str) -> Written:
    # Templates unpack the arguments. Some clients send nothing where there are none.
    arguments = function.arguments.strip() or "{}"
    try:
        good = isinstance(_json(arguments), dict)
    except (msgspec.DecodeError, RecursionError):
        good = False
    if not good:
        raise violation.wrong_value(
            f"{at}.arguments", f"Invalid '{at}.arguments': expected a JSON object in a string."
        )
    return {"id": number, "type": "function", "function": {"name": function.name, "arguments": arguments}}


def _call_in_words(call: Written) -> str:
    function = call["function"]
    name = msgspec.json.encode(function["name"]).decode()
    return f'{OPENING}\n{{"name": {name}, "arguments": {function["arguments"]}}}\n{CLOSING}'


def _text(content: str | list[Written]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] == "text")
