"""What is read for a configuration: the file, what it points to, the starter, the command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headgate.configuration import (
    CONFIGURATION_LIMIT_BYTES,
    SECRET_LIMIT_BYTES,
    Sources,
    default_data_folder,
    load,
    starter_file,
)
from headgate.core.errors import SettingsError

UPSTREAM = '[[upstream]]\nname = "a"\nbase_url = "http://h"\nmodels = ["m"]\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration's folder; the process stands in another one, and its home is a third."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = tmp_path / "etc"
    place.mkdir()
    return place


def write(folder: Path, text: str | bytes) -> Sources:
    path = folder / "gate.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Sources(config_file=path)


def refusal(sources: Sources) -> str:
    with pytest.raises(SettingsError) as caught:
        load(sources)
    return str(caught.value)


# --- the file -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [UPSTREAM.encode(), b"\xef\xbb\xbf" + UPSTREAM.replace("\n", "\r\n").encode()]
)
def test_a_file_is_read_however_the_editor_wrote_it(folder: Path, text: bytes) -> None:
    assert "m" in load(write(folder, text)).models()


def test_a_file_that_is_no_text_is_refused_with_its_line(folder: Path) -> None:
    assert refusal(write(folder, b'[server]\nhost = "\xff"')) == f"{folder}/gate.toml:2: not UTF-8"


def test_a_file_that_is_too_large_is_refused(folder: Path) -> None:
    sources = write(folder, b"#" * (CONFIGURATION_LIMIT_BYTES + 1))
    assert refusal(sources) == f"{folder}/gate.toml: larger than 1048576 bytes: not a configuration"
    load(write(folder, UPSTREAM + "#" * (CONFIGURATION_LIMIT_BYTES - len(UPSTREAM))))


def test_a_file_that_is_missing_is_refused(folder: Path) -> None:
    path = folder / "none.toml"
    assert refusal(Sources(config_file=path)) == f"{path}: no such file or directory"


# --- what it points to ----------------------------------------------------------------------------------


def test_paths_begin_at_the_files_folder(folder: Path) -> None:
    (folder / "m.gguf").touch()
    (folder.parent / "home").mkdir()
    (folder.parent / "home/eyes.gguf").touch()
    engine = '[[engine]]\nname = "e"\nmodel = "m.gguf"\nmmproj = "~/eyes.gguf"'
    loaded = load(write(folder, engine)).engines[0]
    assert (loaded.model, loaded.mmproj) == (f"{folder}/m.gguf", f"{folder.parent}/home/eyes.gguf")


def test_a_relative_configuration_gives_absolute_paths(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "m.gguf").touch()
    write(folder, '[[engine]]\nname = "e"\nmodel = "m.gguf"')
    monkeypatch.chdir(folder)
    assert load(Sources(config_file=Path("gate.toml"))).engines[0].model == f"{folder}/m.gguf"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("none.gguf", "no such file: {folder}/none.gguf"),
        ("~nobody-of-this-name/m", "whose home folder is meant in ~nobody-of-this-name/m?"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused(folder: Path, path: str, complaint: str) -> None:
    sources = write(folder, f'[[engine]]\nname = "e"\nmodel = "{path}"')
    assert refusal(sources) == f"{folder}/gate.toml:3: engine[0].model: {complaint.format(folder=folder)}"


def test_a_folder_will_do_for_a_model_and_not_for_a_file(folder: Path) -> None:
    sources = write(folder, '[[engine]]\nname = "e"\nkind = "embed"\nmodel = "."')
    assert load(sources).engines[0].model == str(folder)
    sources = write(folder, '[[engine]]\nname = "e"\nmodel = "."\nmmproj = "."')
    assert refusal(sources) == f"{folder}/gate.toml:4: engine[0].mmproj: no such file: {folder}"


def test_secrets_come_from_variables_and_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "key").write_text("  from-file\n")
    monkeypatch.setenv("A_KEY", "from-variable")
    text = UPSTREAM + 'api_key = { env = "A_KEY" }\nheaders = { x-key = { file = "key" } }'
    upstream = load(write(folder, text)).upstreams[0]
    assert upstream.api_key is not None
    assert upstream.api_key.reveal() == "from-variable"
    assert upstream.headers["x-key"].reveal() == "from-file"
    monkeypatch.setenv("A_KEY", "another")
    assert load(Sources(config_file=folder / "gate.toml")).upstreams[0] != upstream, "read anew each time"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "{path}: no such file or directory"),
        (b"\xff\xfe", "{path}: not text"),
        (b"k" * (SECRET_LIMIT_BYTES + 1), "{path}: too large for a key"),
        (b"\n", "file:key is empty"),
        (b"two\nlines", "file:key holds a character that cannot be sent: only printable ASCII can"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused(folder: Path, content: bytes | None, complaint: str) -> None:
    if content is not None:
        (folder / "key").write_bytes(content)
    expected = complaint.format(path=folder / "key")
    sources = write(folder, UPSTREAM + 'api_key = { file = "key" }')
    assert refusal(sources) == f"{folder}/gate.toml:5: upstream[0].api_key: {expected}"


# --- the starter ----------------------------------------------------------------------------------------


def install_starter(folder: Path, monkeypatch: pytest.MonkeyPatch, *, weights: bool) -> Path:
    """A package as headgate-starter is one, found before any that is installed."""
    package = folder / "site/headgate_starter"
    package.mkdir(parents=True)
    # A file that fails when run: to look for the weights, no code of the package is needed.
    (package / "__init__.py").write_text("raise AssertionError\n")
    if weights:
        (package / "starter-chat.gguf").touch()
    monkeypatch.delitem(sys.modules, "headgate_starter", raising=False)
    monkeypatch.syspath_prepend(folder / "site")
    return package / "starter-chat.gguf"


def test_the_starter_is_found_where_its_package_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = install_starter(folder, monkeypatch, weights=True)
    assert starter_file() == str(path)
    settings = load(Sources())
    assert settings.engines[0].model == str(path)
    assert settings.aliases["gpt-4o"] == "starter-chat"


def test_without_the_weights_there_is_no_starter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_starter(folder, monkeypatch, weights=False)
    assert starter_file() is None
    monkeypatch.setattr("headgate.configuration.installed_starters", list)
    assert refusal(Sources()).startswith("no configuration file: nothing to serve: ")


# --- the command line -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("qwen3-0.6b.Q8_0.gguf", "qwen3-0.6b.Q8_0"),
        ("Llama 3 (8B).gguf", "Llama-3-8B"),
        ("_hidden.gguf", "hidden"),
        ("千问.gguf", "model"),
        ("x" * 90 + ".gguf", "x" * 64),
    ],
)
def test_a_model_on_the_command_line_is_named_after_its_file(folder: Path, file: str, name: str) -> None:
    settings = load(Sources(config_file=write(folder, UPSTREAM).config_file, model_files=(Path(file),)))
    assert [engine.name for engine in settings.engines if "starter-" not in engine.name] == [name]
    assert settings.engines[0].model == str(Path.cwd() / file)


def test_two_models_of_one_name_are_refused(folder: Path) -> None:
    sources = Sources(config_file=write(folder, UPSTREAM).config_file, model_files=(Path("a/x"), Path("b/x")))
    assert refusal(sources).endswith('--model: the name "x", which the file gives, is already taken')


def test_flags_win_over_the_file(folder: Path) -> None:
    path = write(folder, UPSTREAM + '[server]\nhost = "::1"\nport = 1\ngrace_ms = 7').config_file
    server = load(Sources(config_file=path, port=0)).server
    assert (server.host, server.port, server.grace_ms) == ("::1", 0, 7)
    tls = load(Sources(config_file=path, host="h", tls_cert_file=Path("c"), tls_key_file=Path("k"))).server
    assert (tls.host, tls.port) == ("h", 1)
    assert (tls.tls_cert_file, tls.tls_key_file) == (str(Path.cwd() / "c"), str(Path.cwd() / "k"))


def test_an_empty_host_does_not_open_every_address(folder: Path) -> None:
    path = write(folder, UPSTREAM).config_file
    assert refusal(Sources(config_file=path, host="")).startswith("--host: expected an address")


def test_the_data_folder_follows_the_xdg_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_data_folder({}) == Path("/home/someone/.local/share/headgate")
    assert default_data_folder({"XDG_DATA_HOME": "/data"}) == Path("/data/headgate")
    assert default_data_folder({"XDG_DATA_HOME": "data"}) == Path("/home/someone/.local/share/headgate")
