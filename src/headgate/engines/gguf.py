"""Looks into a GGUF file before anything loads it: whether it is whole, and what its header says.

Must not load a model; llama.cpp's own loader answers a broken file with a crash now and then.
Format: github.com/ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from headgate.core.errors import SettingsError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
"""Version 1 is from the format's first weeks in 2023 and has other integer sizes."""

DIMENSIONS = 4
"""What ggml can hold."""

# Elements and bytes of a block, by type number: what is needed to tell where a tensor ends.
BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"
}  # fmt: skip
_STRING, _ARRAY = 8, 9


class ModelFile(msgspec.Struct, frozen=True):
    """What a GGUF file says of itself."""

    path: str
    architecture: str
    """`llama`, `qwen3` ...; `clip` is the eyes of a model, not a model."""
    context_tokens: int
    """Longest context it was trained on; 0 where it does not say."""
    chat_template: str
    """Jinja; empty where there is none."""
    first_token: int | None = None
    """What a document begins with; for some families, what stands between two of them."""
    width: int = 0
    """Length of its vectors; 0 where it does not say."""
    pools: bool = False
    """It says how its tokens' vectors become one."""
    gap_tokens: tuple[int, int, int] | None = None
    """Before what precedes a gap, before what follows it, before what fills it; None for a model without."""

    @property
    def template_knows_tools(self) -> bool:
        """The template shows the model the tools of a request; elsewhere they have to be told in words."""
        return "tools" in self.chat_template


def inspect_model(path: str | Path) -> ModelFile:
    """The header of a model's file; raises SettingsError in plain words when it cannot be served."""
    found = _inspect(Path(path))
    if found.architecture == "clip":
        raise SettingsError(f"{path}: these are a model's eyes (for `mmproj`), not a model")
    return found


def inspect_projector(path: str | Path) -> ModelFile:
    """The header of an mmproj file; raises SettingsError in plain words when it is none."""
    found = _inspect(Path(path))
    if found.architecture != "clip":
        raise SettingsError(f"{path}: not a projector (mmproj) but a model of type {found.architecture}")
    return found


def _inspect(path: Path) -> ModelFile:
    try:
        with path.open("rb") as file:
            if file.read(4) != MAGIC:
                raise SettingsError(f"{path}: not a GGUF file")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _read(str(path), data)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except (struct.error, OverflowError, _BrokenHeader):
        raise SettingsError(f"{path}: broken or cut short: its header makes no sense") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: broken: a name in its header is not UTF-8") from None


def _read(path: str, data: mmap.mmap) -> ModelFile:
    reader = _Reader(data)
    version = reader.number("<I")
    if version not in VERSIONS:
        raise SettingsError(f"{path}: GGUF version {version} is not known here")
    tensors, pairs = reader.number("<Q"), reader.number("<Q")
    values: dict[str, object] = {}
    vocabulary = (0, 0)
    for _ in range(pairs):
        key = reader.string()
        kind = reader.number("<I")
        if kind == _ARRAY:
            start = reader.position
            reader.skip_array()
            if key == "tokenizer.ggml.tokens":
                vocabulary = (start, reader.position)
        else:
            values[key] = reader.string() if kind == _STRING else reader.scalar(kind)
    ends = [reader.tensor_end() for _ in range(tensors)]
    alignment = values.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise SettingsError(f"{path}: broken: general.alignment is {alignment!r}")
    start = -(-reader.position // alignment) * alignment
    missing = start + max(ends, default=0) - len(data)
    if missing > 0:
        raise SettingsError(f"{path}: cut short: {missing} bytes are missing at its end")
    architecture = str(values.get("general.architecture", "unknown"))
    context = values.get(f"{architecture}.context_length", 0)
    template = values.get("tokenizer.chat_template", "")
    return ModelFile(
        path,
        architecture,
        context if isinstance(context, int) else 0,
        template if isinstance(template, str) else "",
        _token(values, "bos_token_id", "eos_token_id"),
        width if isinstance(width := values.get(f"{architecture}.embedding_length"), int) else 0,
        f"{architecture}.pooling_type" in values,
        _gap(values) or _gap_in(data, *vocabulary),
    )


def _token(values: dict[str, object], *names: str) -> int | None:
    found = [values.get(f"tokenizer.ggml.{name}") for name in names]
    return next((number for number in found if isinstance(number, int)), None)


def _gap(values: dict[str, object]) -> tuple[int, int, int] | None:
    before = _token(values, "fim_pre_token_id", "prefix_token_id")
    after = _token(values, "fim_suf_token_id", "suffix_token_id")
    filled = _token(values, "fim_mid_token_id", "middle_token_id")
    return None if before is None or after is None or filled is None else (before, after, filled)


_GAPS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<PRE>", "<SUF>", "<MID>"),
)
"""The tokens' names in the families that can fill in, where the header does not point them out."""


def _gap_in(data: mmap.mmap, start: int, end: int) -> tuple[int, int, int] | None:
    """The same from the vocabulary that lies there. Searching for one name first costs a millisecond."""
    for names in _GAPS:
        if data.find(names[0].encode(), start, end) < 0:
            continue
        reader = _Reader(data)
        reader.position = start + 4  # behind the kind of its elements
        wanted = {name.encode(): place for place, name in enumerate(names)}
        found: dict[int, int] = {}
        for index in range(reader.number("<Q")):
            length = reader.number("<Q")
            token = data[reader.position : reader.position + length]
            reader.position += length
            if token in wanted:
                found[wanted[token]] = index
        if len(found) == len(names):
            return found[0], found[1], found[2]
    return None


class _BrokenHeader(Exception):
    """Something in the header cannot be."""


class _Reader:
    """A place in the header that moves on as values are read.

    Every count is followed by as many bytes at least: a wrong one runs into the file's end, nothing grows.
    """

    __slots__ = ("_data", "position")

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.position = 4

    def number(self, form: str) -> int:
        return int(self.scalar_of(form))

    def scalar(self, kind: int) -> int | float | bool:
        return self.scalar_of(_form(kind))

    def scalar_of(self, form: str) -> int | float | bool:
        (value,) = struct.unpack_from(form, self._data, self.position)
        self.position += struct.calcsize(form)
        return value  # type: ignore[no-any-return]

    def string(self) -> str:
        length = self.number("<Q")
        text = self._data[self.position : self.position + length]
        self._pass(length)
        return text.decode()

    def skip_array(self) -> None:
        kind, count = self.number("<I"), self.number("<Q")
        if kind == _STRING:
            self._skip_strings(count)
        else:
            # The format allows arrays of arrays; nobody writes them.
            self._pass(count * struct.calcsize(_form(kind)))

    def tensor_end(self) -> int:
        """Reads one tensor's entry; where its data ends, in bytes from the start of all tensors' data."""
        self.string()
        dimensions = self.number("<I")
        if dimensions > DIMENSIONS:
            raise _BrokenHeader
        elements = 1
        for _ in range(dimensions):
            elements *= self.number("<Q")
        kind, offset = self.number("<I"), self.number("<Q")
        count, size = BLOCKS.get(kind, (1, 0))
        return offset + -(-elements // count) * size

    def _skip_strings(self, count: int) -> None:
        # A vocabulary has hundreds of thousands: the loop is written to be quick.
        read: Callable[..., tuple[int]] = struct.Struct("<Q").unpack_from
        data, position = self._data, self.position
        for _ in range(count):
            position += 8 + read(data, position)[0]
        self.position = position
        self._pass(0)

    def _pass(self, length: int) -> None:
        self.position += length
        if self.position > len(self._data):
            raise _BrokenHeader


def _form(kind: int) -> str:
    form = _SCALARS.get(kind)
    if form is None:
        raise _BrokenHeader
    return form
