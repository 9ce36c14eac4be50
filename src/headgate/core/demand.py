"""The most that a request can use, read from its fields. Pure; names of fields, not endpoints, are looked at.

Only asked for where something is limited: everybody else does without.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headgate.core.estimate import estimate_tokens
from headgate.core.message import ContentPart, Message
from headgate.core.picture_tokens import of_url
from headgate.core.price import Demand

PER_MESSAGE_TOKENS = 4
"""Of its frame: role, separators (OpenAI's own arithmetic has 3, and 1 for a name)."""
PER_REPLY_TOKENS = 3
PER_SOUND_BYTE = 2000
"""Bytes of base64 that are about one token of sound: a second of small MP3 has ten tokens."""
PER_FILE_BYTE = 40
"""The same for documents: two thousand characters of base64 to a page of text and pictures."""
TOOL_FIELDS = ("tools", "functions", "response_format")
"""What a model reads besides the words: JSON, and counted as such."""
MARGIN_DIVISOR = 10
"""An estimate is within a tenth of the truth; so much is added, for what is reserved is to be enough."""


def demand(request: msgspec.Struct, fields: dict[str, msgspec.Raw], answer_tokens: int) -> Demand:
    """What to reserve; `answer_tokens` is for a request that does not say how long the answer may be."""
    found = Demand()
    tokens = prompt_tokens(request, found)
    for name in TOOL_FIELDS:
        if name in fields:
            tokens += estimate_tokens(bytes(fields[name]).decode())
    found.input_tokens = tokens + tokens // MARGIN_DIVISOR + 1
    answers = max(getattr(request, "n", None) or 1, getattr(request, "best_of", None) or 1)
    if hasattr(request, "messages") or hasattr(request, "max_tokens"):
        longest = (
            getattr(request, "max_completion_tokens", None)
            or getattr(request, "max_tokens", None)
            or answer_tokens
        )
        found.output_tokens = longest * answers
    else:
        found.images = answers if hasattr(request, "size") else 0
    found.size = str(getattr(request, "size", None) or "")
    found.quality = str(getattr(request, "quality", None) or "")
    if getattr(request, "modalities", None):
        found.media = True
    return found


def prompt_tokens(request: msgspec.Struct, found: Demand | None = None) -> int:
    """About how many tokens a request asks the model to read, its tools left out."""
    found = found or Demand()
    messages = getattr(request, "messages", None)
    tokens = PER_REPLY_TOKENS + _messages(messages, found) if messages is not None else 0
    for name in ("prompt", "input", "suffix", "instructions"):
        tokens += _texts(getattr(request, name, None), found)
    return tokens


def _messages(messages: list[Message], found: Demand) -> int:
    """Tokens of a conversation: of its words together, of its pictures one by one."""
    words: list[str] = []
    tokens = len(messages) * PER_MESSAGE_TOKENS
    for message in messages:
        content = message.content
        if isinstance(content, str):
            words.append(content)
        elif content is not None:
            tokens += _parts(content, words, found)
        if message.name is not None:
            words.append(message.name)
        for call in message.tool_calls or ():
            if call.function is not None:
                words += (call.function.name, call.function.arguments)
            if call.custom is not None:
                words += (call.custom.name, call.custom.input)
    return tokens + estimate_tokens("\n".join(words))


def _parts(parts: Iterable[ContentPart], words: list[str], found: Demand) -> int:
    tokens = 0
    for part in parts:
        if part.text is not None:
            words.append(part.text)
        if part.image_url is not None:
            found.media = True
            tokens += of_url(part.image_url.url, part.image_url.detail)
        if part.input_audio is not None:
            found.media = True
            tokens += len(part.input_audio.data) // PER_SOUND_BYTE + 1
        if part.file is not None and part.file.file_data is not None:
            tokens += len(part.file.file_data) // PER_FILE_BYTE + 1
    return tokens


def _texts(value: object, found: Demand) -> int:
    """Tokens of a text, of a list of texts, of token ids, or of lists of those."""
    if isinstance(value, str):
        found.characters += len(value)
        return estimate_tokens(value)
    if not isinstance(value, list) or not value:
        return 0
    if isinstance(value[0], int):
        return len(value)
    return sum(_texts(one, found) for one in value)
