"""multipart/form-data as it arrives: fields kept and typed, files passed on to whoever stores them.

The grammar is the `multipart` package's; limits, types and the words of what is wrong are ours. Sans-IO:
bytes come in through `feed`, and leave through the function that was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
    parse_options_header,
)

from headgate.core import violation
from headgate.core.body import open_body
from headgate.core.errors import BadRequest, TooLarge

MOST_PARTS = 64
"""OpenAI takes 16 pictures and has some twenty fields."""

HEADER_BYTES = 4096
"""Of one part: a long file name in percent signs."""

BOUNDARY_CHARACTERS = 200
"""RFC 2046 allows 70; it is searched for in every byte."""

FIELDS_BYTES = 1_048_576
"""In all fields together: the longest prompt that OpenAI takes has 32,000 characters."""

Request = TypeVar("Request", bound=msgspec.Struct)

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_TRUTHS = {"true": "true", "True": "true", "1": "true", "false": "false", "False": "false", "0": "false"}
_PLAIN = re.compile(r"[^\r\n\"\\\x00-\x1f]*")


class FilePart(msgspec.Struct):
    """One file, and where its bytes lie in what was passed on."""

    name: str
    filename: str
    start: int
    size: int = 0


class Form(msgspec.Struct):
    """A whole form."""

    fields: dict[str, list[str]] = msgspec.field(default_factory=dict)
    """Texts by name; `[]` at a name's end is left out."""
    files: list[FilePart] = msgspec.field(default_factory=list)


class FormReader:
    """Reads one form. What it passes on are the files, or with `frame` the form itself, but for its model."""

    def __init__(self, content_type: bytes | None, write: Callable[[bytes], object], frame: str = "") -> None:
        """`frame` is the boundary of the form that is passed on; without one the files' bytes alone are.

        Raises BadRequest when the request is no form.
        """
        kind, options = parse_options_header((content_type or b"").decode("latin-1"))
        boundary = options.get("boundary", "")
        if kind != "multipart/form-data" or not 0 < len(boundary) <= BOUNDARY_CHARACTERS:
            raise BadRequest(
                "The request's content-type has to be multipart/form-data, with its boundary. "
                "(HINT: This likely means you aren't using your HTTP library correctly.)"
            )
        self._parser = PushMultipartParser(
            boundary, max_header_size=HEADER_BYTES, max_header_count=8, max_segment_count=MOST_PARTS
        )
        self._write = write
        self._frame = frame
        self._written = 0
        self._form = Form()
        self._file: FilePart | None = None
        self._field: tuple[str, list[bytes]] | None = None
        self._fields_bytes = 0

    def feed(self, data: bytes) -> None:
        """Takes what has arrived; raises BadRequest or TooLarge."""
        try:
            for event in self._parser.parse(data):
                if isinstance(event, MultipartSegment):
                    self._begin(event)
                elif event is None:
                    self._end()
                else:
                    self._take(bytes(event))
        except ParserLimitReached:
            raise TooLarge(f"The form has more than {MOST_PARTS} parts, or one with a long header.") from None
        except (MultipartError, UnicodeError):
            raise _broken() from None

    def finish(self) -> Form:
        """The whole form; raises BadRequest when it is not complete."""
        try:
            self._parser.close()
        except MultipartError:
            raise _broken() from None
        return self._form

    def closing(self, model: str) -> bytes:
        """The end of the form that is passed on: its model, under the name that counts there."""
        head = f'--{self._frame}\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
        return f"{head}{model}\r\n--{self._frame}--\r\n".encode()

    def _begin(self, segment: MultipartSegment) -> None:
        if not segment.name:
            raise _broken()
        if segment.filename is not None:
            self._file = FilePart(segment.name.removesuffix("[]"), segment.filename, 0)
            if self._frame:
                self._pass_on(self._head(segment))
            self._file.start = self._written
        else:
            self._field = (segment.name, [])

    def _head(self, segment: MultipartSegment) -> bytes:
        name, filename = segment.name or "", segment.filename
        disposition = f'form-data; name="{_quoted(name)}"'
        kind = ""
        if filename is not None:
            disposition += f'; filename="{_quoted(filename)}"'
            given = segment.content_type or "application/octet-stream"
            kind = f"Content-Type: {given if _PLAIN.fullmatch(given) else 'application/octet-stream'}\r\n"
        return f"--{self._frame}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode()

    def _take(self, data: bytes) -> None:
        if self._file is not None:
            self._file.size += len(data)
            self._pass_on(data)
        elif self._field is not None:
            self._fields_bytes += len(data)
            if self._fields_bytes > FIELDS_BYTES:
                raise TooLarge(f"The form's fields hold more than {FIELDS_BYTES} bytes.")
            self._field[1].append(data)

    def _end(self) -> None:
        if self._file is not None:
            self._form.files.append(self._file)
            self._file = None
            if self._frame:
                self._pass_on(b"\r\n")
        elif self._field is not None:
            name, parts = self._field
            data = b"".join(parts)
            try:
                text = data.decode()
            except UnicodeDecodeError:
                raise violation.wrong_value(
                    violation.quote(name), f"Invalid value for '{violation.quote(name)}': not UTF-8."
                ) from None
            self._form.fields.setdefault(name.removesuffix("[]"), []).append(text)
            self._field = None
            if self._frame and name != "model":
                head = f'--{self._frame}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'
                self._pass_on(head.encode() + data + b"\r\n")

    def _pass_on(self, data: bytes) -> None:
        self._write(data)
        self._written += len(data)


def read_form(form: Form, request_type: type[Request], uploads: Mapping[str, int]) -> Request:
    """The typed fields of a form; `uploads` are its file fields with how many files each may hold.

    Texts are read as what the type declares; what does not fit is refused as it would be in JSON, and so is a
    field that was given twice. A file stands in the request as its name. Raises InvalidField.
    """
    declared = _declared(request_type)
    values: dict[str, object] = {}
    for name, texts in form.fields.items():
        if name in uploads:
            raise violation.wrong_type(name, "a file", "a string")
        if name not in declared:
            continue  # vendors extend forms too
        kind = declared[name]
        if isinstance(kind, inspect.ListType):
            values[name] = [_raw(text, kind.item_type) for text in texts]
        elif len(texts) > 1:
            raise twice(name)
        else:
            values[name] = _raw(texts[0], kind)
    for file in form.files:
        if file.name not in uploads:
            raise violation.wrong_type(violation.quote(file.name), "a string", "a file")
        if not file.size:
            raise violation.wrong_value(file.name, f"Invalid file '{file.name}': the file is empty.")
    for name, most in uploads.items():
        names = [file.filename for file in form.files if file.name == name]
        if len(names) > most:
            raise twice(name) if most == 1 else violation.array_too_long(name, most, len(names))
        if names:
            values[name] = names if most > 1 else names[0]
    request, _ = open_body(msgspec.json.encode(values), request_type)
    return request


def twice(name: str) -> BadRequest:
    """A field that there is one of was given again."""
    return violation.wrong_value(
        violation.quote(name), f"'{violation.quote(name)}' was given more than once."
    )


def _declared(request_type: type[msgspec.Struct]) -> dict[str, inspect.Type]:
    """What each field takes, null aside; of a choice that has a list among it, the list."""
    info = inspect.type_info(request_type)
    assert isinstance(info, inspect.StructType)
    found: dict[str, inspect.Type] = {}
    for field in info.fields:
        options = field.type.types if isinstance(field.type, inspect.UnionType) else (field.type,)
        found[field.encode_name] = next(
            (option for option in options if isinstance(option, inspect.ListType)),
            next((option for option in options if not isinstance(option, inspect.NoneType)), options[0]),
        )
    return found


def _raw(text: str, kind: Any) -> object:
    """A text as the value that it spells, if that is what is wanted; else the text."""
    if isinstance(kind, inspect.IntType | inspect.FloatType) and _NUMBER.fullmatch(text):
        return msgspec.Raw(text.encode())
    if isinstance(kind, inspect.BoolType) and text in _TRUTHS:
        return msgspec.Raw(_TRUTHS[text].encode())
    if text.startswith("{") and not isinstance(kind, inspect.StrType | type(None)):
        try:
            return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(text)))
        except (msgspec.DecodeError, RecursionError):
            return text
    return text


def _quoted(text: str) -> str:
    """A name inside quotes, as browsers write it."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _broken() -> BadRequest:
    return BadRequest(
        "We could not parse the form of your request: it is not well-formed multipart/form-data, or it "
        "broke off."
    )
