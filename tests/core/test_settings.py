"""Configuration text to settings: what is right is read, what is wrong is said with line and field."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.backends.providers import known_providers
from headgate.core.errors import SettingsError
from headgate.core.settings import Engine, File, Settings
from headgate.core.settings_models import filled_in, fits
from headgate.core.settings_routing import ModelTarget, Routing
from headgate.core.settings_text import parse

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "docs/configuration.example.toml").read_text()
KEY = "sk-the-value-nobody-may-see"

UPSTREAM = '[[upstream]]\nname = "a"\nbase_url = "http://host/v1"\n'
"""Three lines of an upstream that lacks only its models."""
MODELS = 'models = ["m"]\n'


class World:
    """Variables and files that the tests speak of."""

    def secret(self, kind: str, name: str) -> str:
        match kind, name:
            case "env", "MISSING":
                raise ValueError("the environment variable MISSING is not set")
            case "env", "EMPTY":
                return ""
            case "env", "TWO_LINES":
                return f"{KEY}\r\nx-admin: 1"
            case "file", "/missing":
                raise ValueError("/missing: no such file or directory")
            case "file", _:
                return f"{KEY}\n"
        return KEY

    def file(self, path: str) -> str:
        if path == "missing.gguf":
            raise ValueError("no such file: /folder/missing.gguf")
        return f"/folder/{path}"

    def place(self, path: str) -> str:
        return self.file(path)


def read(text: str, *, starter: str | None = None, extra: tuple[Engine, ...] = ()) -> Settings:
    installed = None if starter is None else File(starter)
    return parse(
        text,
        "gate.toml",
        outside=World(),
        starter=installed,
        extra_engines=extra,
        providers=known_providers(),
    )


# --- what is right ------------------------------------------------------------------------------------


def test_a_whole_upstream_is_read() -> None:
    settings = read(
        UPSTREAM
        + 'models = ["x", { name = "y", upstream_name = "y-2024" }]\n'
        + 'api_key = { env = "KEY" }\nheaders = { x-team = "blue", x-pass = { file = "/pass" } }\n'
        + "max_in_flight = 3\nidle_timeout_ms = 7\n"
    )
    (upstream,) = settings.upstreams
    assert [(model.name, model.sent_as) for model in upstream.models] == [("x", "x"), ("y", "y-2024")]
    assert upstream.api_key is not None
    assert upstream.api_key.reveal() == KEY
    assert {name: value.reveal() for name, value in upstream.headers.items()} == {
        "x-team": "blue",
        "x-pass": KEY,
    }
    assert (upstream.max_in_flight, upstream.idle_timeout_ms, upstream.dialect) == (3, 7, "openai")
    assert settings.models() == {
        "x": (ModelTarget(upstream="a", model="x"),),
        "y": (ModelTarget(upstream="a", model="y-2024"),),
    }


def test_a_model_has_every_target_that_names_it() -> None:
    settings = read(
        UPSTREAM
        + 'models = ["m", { name = "x/*", upstream_name = "*" }]\n'
        + UPSTREAM.replace('"a"', '"b"')
        + 'models = [{ name = "m", priority = 2, vision = false }]\n'
        + '[[engine]]\nname = "m"\nmodel = "f"\n'
        + '[[model]]\nname = "both"\nattempts = 2\ntargets = [{ upstream = "a" }, { upstream = "m" }]\n'
        + '[[model]]\nname = "m"\nsticky = "conversation"\n'
    )
    assert settings.models() == {
        "m": (
            ModelTarget(upstream="a", model="m"),
            ModelTarget(upstream="b", model="m", priority=2, vision=False),
            ModelTarget(upstream="m", model="m"),
        ),
        "x/*": (ModelTarget(upstream="a", model="*"),),
        "both": (ModelTarget(upstream="a", model="both"), ModelTarget(upstream="m", model="m")),
    }
    both, sticky = (named.rules(settings.routing) for named in settings.named_models)
    assert (both.attempts, both.sticky) == (2, "off")
    assert (sticky.attempts, sticky.sticky) == (Routing().attempts, "conversation")


@given(st.text("ab*/", max_size=6), st.text("ab/", max_size=6))
def test_a_star_stands_for_anything(pattern: str, name: str) -> None:
    hypothesis.assume(pattern.count("*") <= 1)
    expected = "*" in pattern and re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) is not None
    assert fits(pattern, name) == expected
    if expected:
        assert filled_in(pattern, name, pattern) == name


def test_paths_are_asked_of_the_world() -> None:
    settings = read('[[engine]]\nname = "e"\nmodel = "m.gguf"\nmmproj = "eyes.gguf"')
    assert (settings.engines[0].model, settings.engines[0].mmproj) == ("/folder/m.gguf", "/folder/eyes.gguf")


@pytest.mark.parametrize("uncommented", [False, True])
def test_the_example_can_be_used_and_shows_the_defaults(uncommented: bool) -> None:
    text = re.sub(r"(?m)^# (?=\w+ = )", "", EXAMPLE) if uncommented else EXAMPLE
    settings = read(text)
    if not uncommented:
        assert settings.server == Settings().server
        assert settings.journal == Settings().journal
        assert settings.log == Settings().log
        assert settings.metrics == Settings().metrics
        assert settings.telemetry == Settings().telemetry
        assert settings.starter == Settings().starter
        assert settings.routing == Settings().routing
        assert settings.health == Settings().health
    assert settings.models().keys() == {
        "gpt-4o", "gpt-4o-mini", "gemini-2.5-flash", "qwen/qwen3-32b", "deepseek-chat", "llama", "smart",
        "vectors", "voice", "ears",
    }  # fmt: skip


def test_the_example_names_every_setting() -> None:
    all_defaults = Settings()
    tables = (all_defaults.server, all_defaults.journal, all_defaults.log, all_defaults.metrics)
    for struct in (Settings, *(type(part) for part in (*tables, all_defaults.telemetry))):
        for field in msgspec.structs.fields(struct):
            assert re.search(rf"(?m)^(# |\[+)?{field.encode_name}\b", EXAMPLE), field.encode_name
    for field in (
        *msgspec.structs.fields(read(EXAMPLE).upstreams[0].__class__),
        *msgspec.structs.fields(Engine),
    ):
        assert re.search(rf"(?m)^(# )?{field.encode_name} = ", EXAMPLE), field.encode_name


# --- the starter ----------------------------------------------------------------------------------------


def test_without_a_configuration_the_starter_answers_to_the_names_in_samples() -> None:
    settings = read("", starter="/s.gguf")
    assert [(engine.name, engine.model) for engine in settings.engines] == [("starter-chat", "/s.gguf")]
    assert settings.aliases == {
        "gpt-3.5-turbo": "starter-chat",
        "gpt-3.5-turbo-instruct": "starter-chat",
        "gpt-4o": "starter-chat",
        "gpt-4o-mini": "starter-chat",
    }


def test_its_aliases_vanish_with_the_first_upstream() -> None:
    settings = read(UPSTREAM + MODELS, starter="/s.gguf")
    assert "starter-chat" in settings.models()
    assert settings.aliases == {}


def test_what_the_operator_named_keeps_its_meaning() -> None:
    text = '[aliases]\n"gpt-4o" = "mine"\n[[engine]]\nname = "mine"\nmodel = "m"\n'
    settings = read(text + '[[engine]]\nname = "gpt-4o-mini"\nmodel = "m"\n', starter="/s.gguf")
    assert settings.aliases == {
        "gpt-4o": "mine",
        "gpt-3.5-turbo": "starter-chat",
        "gpt-3.5-turbo-instruct": "starter-chat",
    }


def test_it_can_be_turned_off_and_steps_aside_for_its_name() -> None:
    engine = '[[engine]]\nname = "{}"\nmodel = "m"\n'
    off = read("[starter]\nenabled = false\n" + engine.format("mine"), starter="/s.gguf")
    assert list(off.models()) == ["mine"]
    assert off.aliases == {}
    aside = read(engine.format("starter-chat"), starter="/s.gguf")
    assert [found.model for found in aside.engines] == ["/folder/m"]
    assert aside.aliases == {}


def test_the_command_line_adds_engines() -> None:
    settings = read("", starter="/s.gguf", extra=(Engine(name="given", model=File("/given.gguf")),))
    assert list(settings.models()) == ["given", "starter-chat"]


# --- what is wrong --------------------------------------------------------------------------------------

KEY_EXPECTED = 'expected { env = "NAME" } or { file = "PATH" }'
NEVER_WRITTEN = f"a key is never written into the configuration; {KEY_EXPECTED}"
KNOWN_JOURNAL = "Known here: fsync_interval_ms, keep_bytes"

WRONG = {
    # not TOML; the words are tomllib's own, and differ between versions of Python
    "[server\nport = 1": "1: not TOML: expected * (column 8)",
    "a = 1\n\nb = {": "3: not TOML: *",
    "a = 1\na = 2\n": "2: not TOML: cannot * (column 6)",
    # unknown fields
    "[server]\nprot = 1": "2: server.prot: unknown field; did you mean `port`? Known here: host, port,*",
    "[journal]\nx = 1": f"2: journal.x: unknown field; {KNOWN_JOURNAL}",
    "\n[upsteam]": "2: upsteam: unknown field; did you mean `upstream`? Known here: server, journal,*",
    UPSTREAM + 'models = [\n  "x",\n  { name = "y", upstreamname = "z" },\n]':
        "6: upstream[0].models[1].upstreamname: unknown field; did you mean `upstream_name`? "
        "Known here: priority, *, name, upstream_name",
    # missing
    UPSTREAM: "1: upstream[0]: `models` is missing: expected a list with a model's name in it",
    '[[upstream]]\nmodels = ["x"]':
        "1: upstream[0]: `name` is missing: expected a name of up to 64 letters,*",
    '[[engine]]\nname = "e"': "1: engine[0]: `model` is missing: expected a path to a GGUF file",
    '[[engine]]\nname = "e"\nkind = "image"': "1: engine[0]: `model` is missing: expected a path to a folder "
    "of diffusers' or a starter's ONNX file",
    # types
    "server = 3": "1: server: expected a table, got 3",
    "upstream = 3": "1: upstream: expected a list of tables, got 3",
    "[server]\nport = true": "2: server.port: expected an integer from 0 to 65535, got true",
    '[server]\nport = "80"': "2: server.port: expected an integer from 0 to 65535, got another string",
    "[server]\nhost = 1": "2: server.host: expected a string, got 1",
    "[server]\nheader_bytes = 1.5":
        "2: server.header_bytes: expected an integer from 1024 to 1048576, got 1.5",
    "[server]\ncors_origins = [\n 3]": "3: server.cors_origins[0]: expected a string, got 3",
    "[server]\ncors_origins = '*'": "2: server.cors_origins: expected a list of strings, got another string",
    "[starter]\nenabled = 1": "2: starter.enabled: expected true or false, got 1",
    "[aliases]\na = 2026-11-22": "2: aliases.a: expected a model name of up to 256 *, got a date or time",
    "[aliases]\ngpt-3.5-turbo = 'x'":
        '2: aliases.gpt-3: expected a model name *, got a table: a name with dots in it needs quotes, *',
    UPSTREAM + 'models = ["x",\n3]':
        "5: upstream[0].models[1]: expected a model's name, or { name = ..., upstream_name = ... }, got 3",
    UPSTREAM + MODELS + "\n[upstream.headers]\na = '1'\nb = 2":
        '8: upstream[0].headers.b: expected a string, { env = "NAME" } or { file = "PATH" }',
    # ranges
    "[server]\nport = 65536": "2: server.port: expected an integer from 0 to 65535, got 65536",
    "[server]\nidle_timeout_ms = 0":
        "2: server.idle_timeout_ms: expected an integer from 1 to 86400000, got 0",
    "[journal]\nkeep_bytes = 1": "2: journal.keep_bytes: expected an integer from 1048576 to *, got 1",
    '[[engine]]\nname = "e"\nmodel = "m"\nslots = 0':
        "4: engine[0].slots: expected an integer from 1 to 256, got 0",
    "[server]\nhost = ''": "2: server.host: expected a string, got an empty string",
    UPSTREAM + "models = []":
        "4: upstream[0].models: expected a list with a model's name in it, got an empty list",
    UPSTREAM + "models = ['a b']": "4: upstream[0].models[0].name: expected a model name of up to 256 *",
    UPSTREAM + MODELS + 'dialect = "morse"':
        '5: upstream[0].dialect: expected "openai" or "llamacpp" or "anthropic" or *, got "morse"',
    '[[engine]]\nname = "../e"\nmodel = "m"': "2: engine[0].name: expected a name of up to 64 letters,*",
    '[[engine]]\nname = "e\\n"\nmodel = "m"': "2: engine[0].name: expected a name of up to 64 letters,*",
    "[aliases]\n'a b' = 'm'": '2: aliases."a b": expected a model name of up to 256 * on the left',
    # files
    '[[engine]]\nname = "e"\nmodel = "missing.gguf"':
        "3: engine[0].model: no such file: /folder/missing.gguf",
    '[[engine]]\nname = "e"\nmodel = ""': "3: engine[0].model: expected a path",
    '[[engine]]\nname = "e"\nmodel = 1': "3: engine[0].model: expected a path",
    "[server]\ntls_cert_file = 'c'":
        "1: server: `tls_key_file` is missing: TLS takes a certificate and its key",
    # secrets
    UPSTREAM + MODELS + f'api_key = "{KEY}"':
        f"5: upstream[0].api_key: {NEVER_WRITTEN}",
    UPSTREAM + MODELS + f'api_key = {{ env = "{KEY}" }}':
        "5: upstream[0].api_key: `env` takes an environment variable's name: letters, digits and _",
    UPSTREAM + MODELS + 'api_key = { env = "A", file = "B" }': f"5: upstream[0].api_key: {KEY_EXPECTED}",
    UPSTREAM + MODELS + 'api_key = { env = "MISSING" }':
        "5: upstream[0].api_key: the environment variable MISSING is not set",
    UPSTREAM + MODELS + 'api_key = { env = "EMPTY" }': "5: upstream[0].api_key: env:EMPTY is empty",
    UPSTREAM + MODELS + 'api_key = { env = "TWO_LINES" }':
        "5: upstream[0].api_key: env:TWO_LINES holds a character that cannot be sent: *",
    UPSTREAM + MODELS + 'api_key = { file = "/missing" }':
        "5: upstream[0].api_key: /missing: no such file or directory",
    UPSTREAM + MODELS + f'headers = {{ Authorization = "Bearer {KEY}" }}':
        f"5: upstream[0].headers.Authorization: {NEVER_WRITTEN}",
    UPSTREAM + MODELS + f'query = {{ key = "{KEY}" }}':
        f"5: upstream[0].query.key: {NEVER_WRITTEN}",
    # headers
    UPSTREAM + MODELS + 'headers = { "a b" = "c" }': '5: upstream[0].headers."a b": not a header\'s name',
    UPSTREAM + MODELS + 'headers = { Content-Length = "1" }':
        "5: upstream[0].headers.Content-Length: the gate writes this header itself",
    UPSTREAM + MODELS + 'headers = { a = "1", A = "2" }':
        "5: upstream[0].headers.a: this header is here twice: upper and lower case are one",
    UPSTREAM + MODELS + 'headers = { a = "1\\r\\nb: 2" }':
        "5: upstream[0].headers.a: text holds a character that cannot be sent: only printable ASCII can",
    # addresses
    UPSTREAM.replace("http://host", f"http://user:{KEY}@host") + MODELS:
        "3: upstream[0].base_url: a base URL has no user name or password in it: the key goes into `api_key`",
    UPSTREAM.replace("/v1", f"/v1?key={KEY}") + MODELS:
        "3: upstream[0].base_url: a base URL has no query: its fields go into `query`",
    UPSTREAM.replace("/v1", "/v1#x") + MODELS: "3: upstream[0].base_url: a base URL has no fragment (#...)",
    UPSTREAM.replace("http", "ftp") + MODELS:
        "3: upstream[0].base_url: expected a URL that begins with http://, https:// or unix:/",
    "[server]\ncors_origins = ['*', 'https://a/b']":
        '2: server.cors_origins[1]: expected "*" or an origin such as "https://example.com", without a path',
    # what operators see
    UPSTREAM + MODELS + '[log]\nformat = "xml"': '6: log.format: expected "auto" or "text" or "json", *',
    UPSTREAM + MODELS + '[telemetry]\notlp_endpoint = "grpc://host:4317"':
        "6: telemetry.otlp_endpoint: expected an http:// or https:// URL, *",
    UPSTREAM + MODELS + '[telemetry]\notlp_endpoint = "https://user:pass@host"':
        "6: telemetry.otlp_endpoint: expected an http:// or https:// URL, *",
    UPSTREAM + MODELS + f'[telemetry]\notlp_headers = {{ Authorization = "{KEY}" }}':
        f"6: telemetry.otlp_headers.Authorization: {NEVER_WRITTEN}",
    UPSTREAM + MODELS + '[telemetry]\notlp_headers = { "a b" = "c" }':
        '6: telemetry.otlp_headers."a b": not a header\'s name',
    UPSTREAM + MODELS + "[telemetry]\nsample_percent = 101":
        "6: telemetry.sample_percent: expected an integer from 0 to 100, got 101",
    # names
    UPSTREAM + MODELS + UPSTREAM + 'models = ["n"]': '6: upstream[1].name: an upstream is called "a" already',
    UPSTREAM + MODELS + '[[engine]]\nname = "a"\nmodel = "m"':
        '6: engine[0].name: an upstream is called "a" already',
    UPSTREAM + 'models = ["m",\n"m"]':
        '5: upstream[0].models[1].name: the model "m" is in this list already',
    # several targets, and names that stand for many
    UPSTREAM + 'models = ["a*b*"]':
        "4: upstream[0].models[0].name: one `*` is enough: it stands for anything",
    UPSTREAM + 'models = [{ name = "m", upstream_name = "x/*" }]':
        "4: upstream[0].models[0].upstream_name: a `*` here takes one in `name` to be filled in from",
    UPSTREAM + 'models = [{ name = "m", queue = 2 }]':
        "4: upstream[0].models[0].queue: nobody waits in it without a `max_in_flight`",
    UPSTREAM + MODELS + "discover = true": "5: upstream[0].discover: nothing to look for: *",
    UPSTREAM + MODELS + "queue = 3": "5: upstream[0].queue: nobody waits in it without a `max_in_flight`",
    UPSTREAM + MODELS + 'api_key = { env = "KEY" }\napi_keys = [{ env = "KEY" }]':
        "6: upstream[0].api_keys: `api_key` is here too: write all keys into `api_keys`",
    UPSTREAM + MODELS + f'api_keys = [{{ env = "KEY" }}, "{KEY}"]':
        f"5: upstream[0].api_keys[1]: {NEVER_WRITTEN}",
    UPSTREAM + MODELS + '[[model]]\nname = "x"':
        '5: model[0]: `targets` is missing: no upstream has a model "x"',
    UPSTREAM + MODELS + '[[model]]\nname = "x"\ntargets = [{ upstream = "b" }]':
        '7: model[0].targets[0].upstream: no upstream is called "b"',
    UPSTREAM + MODELS + '[[model]]\nname = "x"\ntargets = [{ upstream = "a", weight = 0 }]':
        "7: model[0].targets[0].weight: expected an integer from 1 to 1000, got 0",
    UPSTREAM + MODELS + '[[model]]\nname = "x"\ntargets = ["a"]':
        "7: model[0].targets[0]: expected a table: { upstream = ... }, got another string",
    UPSTREAM + MODELS + '[[model]]\nname = "x*"\ntargets = [{ upstream = "a" }]':
        "6: model[0].name: a name with a `*` in it is for an upstream's `models`",
    UPSTREAM + MODELS + '[[model]]\nname = "m"\n[[model]]\nname = "m"':
        '8: model[1].name: a [[model]] is called "m" already',
    '[[engine]]\nname = "e"\nmodel = "m"\n[[model]]\nname = "x"\n'
    'targets = [{ upstream = "e", model = "y" }]':
        "6: model[0].targets[0].model: an engine has one model, which has its name",
    UPSTREAM + MODELS + '[routing]\nsticky = "yes"': '6: routing.sticky: expected "off" or "conversation"*',
    # aliases
    UPSTREAM + 'models = ["large"]\n[aliases]\nx = "lage"':
        '6: aliases.x: no model is named "lage"; did you mean "large"?',
    UPSTREAM + MODELS + '[aliases]\nm = "m"': '6: aliases.m: upstream "a" serves a model of this name',
    UPSTREAM + MODELS + '[aliases]\nx = "m"\ny = "x"':
        '7: aliases.y: "x" is an alias itself; expected the name of a model',
    '[aliases]\nx = "starter-chat"':
        '2: aliases.x: no model is named "starter-chat"; it comes with the package headgate-starter: '
        "pip install 'headgate[starter]'",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_configuration_is_refused_with_line_and_field(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(text)
    expected = re.escape(f"gate.toml:{WRONG[text]}").replace(r"\*", ".*")
    assert re.fullmatch(expected, str(caught.value)), str(caught.value)
    assert KEY not in str(caught.value)
    # A traceback shows what an error came from: nothing of it may hold the key.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_configuration_without_any_model_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^gate.toml: nothing to serve: configure an \[\[upstream\]\]"):
        read("")


def test_a_starter_that_was_turned_off_is_not_called_missing() -> None:
    with pytest.raises(
        SettingsError, match=r'no model is named "starter-chat", since \[starter\] enabled = false'
    ):
        read('[starter]\nenabled = false\n[aliases]\nx = "starter-chat"', starter="/s.gguf")


def test_a_name_from_the_command_line_must_be_free() -> None:
    given_engine = (Engine(name="m", model=File("/elsewhere/m.gguf")),)
    with pytest.raises(
        SettingsError, match=r'^gate.toml: --model: the name "m", which the file gives, is already'
    ):
        read(UPSTREAM + MODELS, extra=given_engine)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^gate.toml: lists or tables are nested too deeply$"):
        read("a = " + "[" * 100_000)


def test_a_number_of_any_length_is_refused() -> None:
    # Python refuses to convert integers of more than 4,300 digits, with an error that is not TOML's own.
    with pytest.raises(SettingsError, match=r"^gate\.toml: not TOML: "):
        read("[server]\nport = " + "9" * 5_000)


@given(st.data())
def test_no_text_makes_it_fail_in_another_way(data: st.DataObject) -> None:
    lines = EXAMPLE.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        start, end = sorted(data.draw(st.tuples(st.integers(0, len(line)), st.integers(0, len(line)))))
        piece = data.draw(
            st.sampled_from(["", '"', "[", "]", "{", "}", "= 1", ".", "\n", "#", "\\", "é", "'''"])
        )
        lines[index] = line[:start] + piece + line[end:]
    assert is_read_or_refused("\n".join(lines))


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
), st.sampled_from([
    "server", "server.port", "server.cors_origins", "upstream", "upstream.0", "upstream.0.models",
    "upstream.0.models.0", "upstream.0.api_key", "upstream.0.headers", "engine.0.model", "aliases",
]))  # fmt: skip
def test_no_value_makes_it_fail_in_another_way(value: object, place: str) -> None:
    document = {
        "server": {"port": 1},
        "upstream": [{"name": "a", "base_url": "http://h", "models": ["m"], "api_key": {"env": "K"}}],
        "engine": [{"name": "e", "model": "m"}],
    }
    *parents, last = (int(step) if step.isdigit() else step for step in place.split("."))
    target: object = document
    for step in parents:
        target = target[step]  # type: ignore[index]
    target[last] = value  # type: ignore[index]
    assert is_read_or_refused("\n".join(f"{key} = {toml(part)}" for key, part in document.items()))


def is_read_or_refused(text: str) -> bool:
    try:
        read(text)
    except SettingsError as error:
        return bool(re.match(r"gate\.toml(:\d+)?: .", str(error)))
    return True


def toml(value: object) -> str:
    """A value as TOML writes it on one line; None, which TOML does not know, becomes a string."""
    match value:
        case dict():
            return "{" + ", ".join(f"{toml(key)} = {toml(part)}" for key, part in value.items()) + "}"
        case list():
            return "[" + ", ".join(toml(part) for part in value) + "]"
        case float():
            return repr(value) if "inf" in repr(value) or "nan" in repr(value) else f"{value:.1f}"
        case bool() | int():
            return str(value).lower()
    return msgspec.json.encode(str(value).encode("utf-8", "replace").decode()).decode().replace("\x7f", "")
