"""A model's file is looked at before anything loads it, and refused in plain words."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.core.errors import SettingsError
from headgate.engines.gguf import BLOCKS, inspect_model, inspect_projector
from tests.models.bigram import CHATML, CHATML_TOOLS, CONTEXT, write_bigram


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bigram(tmp_path_factory.mktemp("m") / "m.gguf", template=CHATML_TOOLS)


def test_what_a_file_says_of_itself(model: Path, tmp_path: Path) -> None:
    found = inspect_model(model)
    assert (found.architecture, found.context_tokens, found.chat_template) == ("llama", CONTEXT, CHATML_TOOLS)
    assert found.template_knows_tools
    assert not inspect_model(write_bigram(tmp_path / "p.gguf", template=CHATML)).template_knows_tools


def test_every_value_type_is_read(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "llama")
    for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
        getattr(writer, f"add_{kind}")(f"x.{kind}", 7)
    writer.add_float32("x.f", 1.5)
    writer.add_float64("x.d", 1.5)
    writer.add_bool("x.b", True)
    writer.add_array("x.ints", [1, 2, 3])
    writer.add_array("x.words", ["a", "bc", ""])
    writer.add_array("x.bools", [True, False])
    writer.add_context_length(321)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert inspect_model(tmp_path / "v.gguf").context_tokens == 321


def test_block_sizes_are_ggml_s_own() -> None:
    assert {
        int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items() if int(kind) in BLOCKS
    } == BLOCKS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.gguf", None, "No such file"),
        ("empty.gguf", b"", "not a GGUF file"),
        ("page.gguf", b"<html>Not found</html>", "not a GGUF file"),
        ("short.gguf", b"GGUF\x03\0", "header makes no sense"),
        ("old.gguf", b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1 is not known"),
        ("big-endian.gguf", b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is not known"),
        ("counts.gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60), "header makes no sense"),
        ("key.gguf", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63), "header makes no sense"),
    ],
)
def test_what_is_no_model(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError, match=words) as caught:
        inspect_model(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Is a directory"):
        inspect_model(tmp_path)


def test_a_download_that_broke_off(model: Path, tmp_path: Path) -> None:
    data = model.read_bytes()
    for missing in (1, 1000, len(data) // 2):
        (tmp_path / "part.gguf").write_bytes(data[:-missing])
        with pytest.raises(SettingsError, match=f"cut short: {missing} bytes are missing"):
            inspect_model(tmp_path / "part.gguf")


def test_eyes_and_models_are_told_apart(model: Path, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "eyes.gguf", "clip")
    writer.add_tensor("v.patch_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert inspect_projector(tmp_path / "eyes.gguf").architecture == "clip"
    with pytest.raises(SettingsError, match="not a model"):
        inspect_model(tmp_path / "eyes.gguf")
    with pytest.raises(SettingsError, match="a model of type llama"):
        inspect_projector(model)


@given(place=st.integers(0, 10**6), data=st.binary(min_size=1, max_size=12), cut=st.integers(0, 10**6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_read_or_refused(
    tmp_path: Path, model: Path, place: int, data: bytes, cut: int
) -> None:
    whole = model.read_bytes()
    header = 16_000
    at = 4 + place % header
    damaged = whole[:at] + data + whole[at + len(data) :]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(damaged[: max(4, len(damaged) - cut % 1000)])
    with suppress(SettingsError):
        inspect_model(path)


def vocabulary(path: Path, tokens: list[str], **pairs: int) -> Path:
    """A model's file with these tokens and numbers in its header."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_token_list(tokens)
    for name, value in pairs.items():
        writer.add_uint32(f"tokenizer.ggml.{name}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_tokens_around_a_gap_are_found(tmp_path: Path) -> None:
    named = vocabulary(
        tmp_path / "a", ["a"], bos_token_id=4, fim_pre_token_id=5, fim_suf_token_id=6, fim_mid_token_id=7
    )
    assert inspect_model(named).gap_tokens == (5, 6, 7)
    assert inspect_model(named).first_token == 4
    searched = vocabulary(
        tmp_path / "b", ["<|fim_middle|>", "x", "<|fim_prefix|>", "<|fim_suffix|>"], eos_token_id=1
    )
    assert inspect_model(searched).gap_tokens == (2, 3, 0)
    assert inspect_model(searched).first_token == 1
    half = vocabulary(tmp_path / "c", ["<|fim_middle|>", "<|fim_prefix|>"], fim_pre_token_id=1)
    assert inspect_model(half).gap_tokens is None
    assert inspect_model(half).first_token is None
