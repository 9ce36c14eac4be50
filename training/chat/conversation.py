"""How a conversation becomes tokens: ChatML, tools in Hermes' style, cut into tokens by vocabulary.py.

`template.jinja` says the same to llama.cpp; the tests hold the two together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.chat.vocabulary import TURN_END, TURN_START

Message = dict[str, Any]

ANSWER_OPENING = f"{TURN_START}assistant\n"
TEMPLATE = (Path(__file__).parent / "template.jinja").read_text(encoding="utf-8")


def call_text(name: str, arguments: dict[str, Any], compact: bool = False) -> str:
    """One tool call as the model writes it; compact is how a grammar may force it to."""
    separators = (",", ":") if compact else (", ", ": ")
    body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False, separators=separators)
    return f"<tool_call>\n{body}\n</tool_call>"


def segments(
    messages: list[Message], tools: list[dict[str, Any]] | None = None, compact: bool = False
) -> list[tuple[str, bool]]:
    """The conversation as (text, written by the model?) pieces, in order."""
    pieces: list[tuple[str, bool]] = []
    rest = list(messages)
    system = rest.pop(0)["content"] if rest and rest[0]["role"] in ("system", "developer") else None
    if tools:
        listed = "".join(json.dumps(tool["function"], ensure_ascii=False) + "\n" for tool in tools)
        opening = f"{system}\n\n" if system is not None else ""
        pieces.append((f"{TURN_START}system\n{opening}<tools>\n{listed}</tools>{TURN_END}\n", False))
    elif system is not None:
        pieces.append((f"{TURN_START}system\n{system}{TURN_END}\n", False))
    for message in rest:
        role, content = message["role"], message.get("content") or ""
        if role == "assistant":
            called = [call["function"] for call in message.get("tool_calls") or ()]
            calls = [call_text(each["name"], json.loads(each["arguments"]), compact) for each in called]
            reply = "\n".join(([content] if content else []) + calls)
            pieces += [(ANSWER_OPENING, False), (reply + TURN_END, True), ("\n", False)]
        elif role == "tool":
            told = f"<tool_response>\n{content}\n</tool_response>"
            pieces.append((f"{TURN_START}tool\n{told}{TURN_END}\n", False))
        else:
            shown = "system" if role == "developer" else role
            pieces.append((f"{TURN_START}{shown}\n{content}{TURN_END}\n", False))
    return pieces


def prompt(messages: list[Message], tools: list[dict[str, Any]] | None = None) -> str:
    """What llama.cpp hands the model before it answers."""
    return "".join(text for text, _ in segments(messages, tools)) + ANSWER_OPENING
