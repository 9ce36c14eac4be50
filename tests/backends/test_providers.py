"""The services known by name: every row can be used, is documented as it is, fills in what is not said."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import get_args

import msgspec
import pytest

from headgate.backends.providers import known_providers
from headgate.core.address import parse_base_url
from headgate.core.errors import SettingsError
from headgate.core.provider import Provider
from headgate.core.quirks import PLAIN, Quirks
from headgate.core.settings import Upstream
from headgate.core.settings_text import parse
from headgate.dialects.openai import OpenAI
from headgate.dialects.quirks import DepartingOpenAI
from headgate.dialects.table import make_dialect
from tests.structure.pages import read, rows, section

PROVIDERS = known_providers()
ROWS = [pytest.param(row, id=row.name) for row in PROVIDERS.values()]
PAGE = read("providers.md")


class Variables:
    """A world with these environment variables and no file."""

    def __init__(self, variables: Collection[str] | Mapping[str, str]) -> None:
        self._values = (
            variables if isinstance(variables, Mapping) else {name: f"key-of-{name}" for name in variables}
        )

    def secret(self, kind: str, name: str) -> str:
        if kind != "env" or name not in self._values:
            raise ValueError(f"the environment variable {name} is not set")
        return self._values[name]

    def file(self, path: str) -> str:
        return path

    def place(self, path: str) -> str:
        return path


def upstream(text: str, variables: Collection[str] | Mapping[str, str] = ()) -> Upstream:
    document = f'[[upstream]]\nname = "u"\nmodels = ["m"]\n{text}\n'
    return parse(document, "gate.toml", outside=Variables(variables), providers=PROVIDERS).upstreams[0]


def refusal(text: str, variables: Collection[str] | Mapping[str, str] = ()) -> str:
    with pytest.raises(SettingsError) as caught:
        upstream(text, variables)
    return str(caught.value)


# --- the rows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
def test_a_row_makes_an_upstream(row: Provider) -> None:
    made = upstream(f'provider = "{row.name}"', row.key_variables)
    assert (made.base_url, made.dialect, made.quirks) == (row.base_url, row.dialect, row.quirks)
    if row.key_variables:
        assert made.api_key is not None
        assert made.api_key.reveal() == f"key-of-{row.key_variables[0]}"
    else:
        assert made.api_key is None
    departs = msgspec.structs.replace(made.quirks, prefill=None) != PLAIN
    assert (type(make_dialect(made.dialect, quirks=made.quirks)) is DepartingOpenAI) == departs


@pytest.mark.parametrize("row", ROWS)
def test_a_row_goes_over_tls_unless_it_is_of_this_machine(row: Provider) -> None:
    address = parse_base_url(row.base_url)
    assert address.tls == bool(row.key_variables)
    assert address.tls or address.host == "localhost"
    assert not row.base_url.endswith(("/", "/chat/completions"))


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_written_as_it_should_be(row: Provider) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.name)
    assert row.documents.startswith("https://")
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*_(KEY|TOKEN)", name) for name in row.key_variables)
    assert row.quirks == Quirks() or row.dialect == "openai", "only OpenAI's dialect has quirks"


def test_no_two_rows_are_the_same_place() -> None:
    for told in ("base_url", "title"):
        values = [getattr(row, told) for row in PROVIDERS.values()]
        assert len(values) == len(set(values))


# --- the page -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_documented_as_it_is(row: Provider) -> None:
    _, service, base_url, dialect, keys, quirks = rows(section(PAGE, "Rows"))[row.name]
    assert service == f"[{row.title}]({row.documents})"
    assert (base_url, dialect) == (f"`{row.base_url}`", f"`{row.dialect}`")
    assert keys == (", ".join(f"`{name}`" for name in row.key_variables) or "none")
    told = msgspec.to_builtins(row.quirks).items()
    written = (f"`{name} = {msgspec.json.encode(value).decode()}`" for name, value in told)
    assert quirks == (", ".join(written) or "none")


def test_no_row_is_documented_that_is_not_there() -> None:
    assert rows(section(PAGE, "Rows")).keys() == PROVIDERS.keys()


def test_every_quirk_is_documented() -> None:
    documented = rows(section(PAGE, "Quirks"))
    fields = {field.encode_name: field for field in msgspec.structs.fields(Quirks)}
    assert documented.keys() == fields.keys()
    for name, field in fields.items():
        default = "none" if field.default is None else f"`{msgspec.json.encode(field.default).decode()}`"
        assert documented[name][2] == default
        for kind in get_args(field.type):
            for choice in get_args(kind):
                assert f'`"{choice}"`' in documented[name][1]


# --- what a name fills in -------------------------------------------------------------------------------


def test_what_the_table_says_wins() -> None:
    made = upstream(
        'provider = "mistral"\nbase_url = "http://proxy/v1"\napi_key = { env = "MINE" }\n'
        'quirks = { no_stream_options = false, max_tokens_field = "max_completion_tokens" }',
        ["MINE", "MISTRAL_API_KEY"],
    )
    assert made.base_url == "http://proxy/v1"
    assert made.api_key is not None
    assert made.api_key.reveal() == "key-of-MINE"
    assert made.quirks == Quirks(
        max_tokens_field="max_completion_tokens", seed_field="random_seed", developer_role="system"
    )


def test_another_dialect_has_no_use_for_the_quirks() -> None:
    made = upstream('provider = "deepseek"\ndialect = "anthropic"', ["DEEPSEEK_API_KEY"])
    assert (made.dialect, made.quirks) == ("anthropic", Quirks())
    same = upstream('provider = "deepseek"\ndialect = "openai"', ["DEEPSEEK_API_KEY"])
    assert same.quirks == PROVIDERS["deepseek"].quirks


def test_the_first_variable_that_is_set_has_the_key() -> None:
    both = upstream('provider = "zhipu"', ["ZAI_API_KEY", "ZHIPUAI_API_KEY"]).api_key
    second = upstream('provider = "zhipu"', ["ZAI_API_KEY"]).api_key
    assert both is not None
    assert second is not None
    assert (both.origin, second.origin) == ("env:ZHIPUAI_API_KEY", "env:ZAI_API_KEY")


def test_a_header_may_carry_the_key_instead() -> None:
    made = upstream('provider = "groq"\nheaders = { Authorization = { env = "MINE" } }', ["MINE"])
    assert made.api_key is None


def test_several_keys_or_an_identity_stand_for_the_key() -> None:
    made = upstream(
        'provider = "groq"\napi_keys = [{ env = "A" }, { env = "B" }]', ["A", "B", "GROQ_API_KEY"]
    )
    assert (made.api_key, len(made.api_keys)) == (None, 2)
    made = upstream('provider = "gemini"\nidentity = { kind = "google" }')
    assert made.api_key is None


def test_a_key_that_is_nowhere_is_named() -> None:
    assert refusal('provider = "deepseek"') == (
        "gate.toml:4: upstream[0].provider: the environment variable DEEPSEEK_API_KEY is not set, "
        "and there is no `api_key` here"
    )
    assert "ZHIPUAI_API_KEY or ZAI_API_KEY is not set" in refusal('provider = "zhipu"')
    assert refusal('provider = "deepseek"', {"DEEPSEEK_API_KEY": ""}) == (
        "gate.toml:1: upstream[0].api_key: env:DEEPSEEK_API_KEY is empty"
    )


def test_a_name_that_nobody_knows_is_refused_without_being_repeated() -> None:
    assert refusal('provider = "deepsek"') == (
        "gate.toml:4: upstream[0].provider: no provider of this name is known; "
        'did you mean "deepseek"? docs/providers.md lists them'
    )
    assert "sk-a-key" not in refusal('provider = "sk-a-key"')
    assert refusal("provider = 3") == ("gate.toml:4: upstream[0].provider: expected a string, got 3")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('provider = "groq"\nquirks = 3', "expected a table, got 3"),
        (
            'provider = "groq"\nquirks = { seeds_field = 1 }',
            "quirks.seeds_field: unknown field; did you mean `seed_field`?",
        ),
        ('provider = "groq"\nheaders = 3', "headers: expected a table, got 3"),
        (
            'base_url = "http://h"\nquirks = { max_tokens_field = "tokens" }',
            'expected "max_tokens" or "max_completion_tokens", got another string',
        ),
    ],
)
def test_what_is_wrong_beside_a_name_is_said_as_ever(text: str, complaint: str) -> None:
    assert complaint in refusal(text, ["GROQ_API_KEY"])


def test_a_server_without_quirks_is_spoken_to_plainly() -> None:
    assert type(make_dialect("openai", quirks=Quirks())) is OpenAI
    assert type(make_dialect("openai", quirks=Quirks(prefill="partial"))) is OpenAI
    assert type(make_dialect("openai", quirks=Quirks(seed_field="random_seed"))) is DepartingOpenAI
