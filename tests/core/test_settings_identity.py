"""An upstream's identity: each kind's own fields are read, another's are refused with line and field."""

from __future__ import annotations

import pytest

from headgate.core.errors import SettingsError
from headgate.core.settings import Identity, Settings
from headgate.core.settings_text import parse
from tests.structure.pages import AnyPlace

WHOLE = 'kind = "entra", tenant_id = "t", client_id = "c", client_secret = { env = "S" }'
UPSTREAM = '[[upstream]]\nname = "a"\nbase_url = "http://host/v1"\nmodels = ["m"]\n'


def read(identity: str, more: str = "") -> Settings:
    return parse(f"{UPSTREAM}{more}identity = {identity}\n", "gate.toml", outside=AnyPlace())


def identity_of(text: str) -> Identity:
    found = read(text).upstreams[0].identity
    assert found is not None
    return found


def test_each_kind_is_read() -> None:
    pair = 'access_key_id = { env = "ID" }, secret_access_key = { env = "KEY" }'
    aws = identity_of(f'{{ kind = "aws", {pair}, region = "eu-west-1" }}')
    assert aws.secret_access_key is not None
    assert aws.secret_access_key.reveal() == "env-KEY"
    assert "env-KEY" not in repr(aws)
    assert identity_of('{ kind = "aws" }').profile is None
    assert identity_of('{ kind = "aws", profile = "work" }').profile == "work"
    assert identity_of('{ kind = "google", file = "key.json" }').file == "key.json"
    entra = identity_of(
        '{ kind = "entra", tenant_id = "t.example", client_id = "c", client_secret = { file = "s" } }'
    )
    assert entra.authority == "https://login.microsoftonline.com"


@pytest.mark.parametrize(
    ("identity", "field", "said"),
    [
        ('{ kind = "none" }', "identity.kind", 'expected "aws" or "google" or "entra", got "none"'),
        ('{ profile = "x" }', "identity", "`kind` is missing"),
        ('{ kind = "google", profile = "x" }', "identity.profile", 'means nothing to the kind "google"'),
        ('{ kind = "aws", authority = "https://x" }', "identity.authority", "means nothing"),
        ('{ kind = "aws", secret_access_key = "hunter2" }', "identity.secret_access_key", "never written"),
        ('{ kind = "aws", access_key_id = { env = "A" } }', "identity", "go together"),
        ('{ kind = "aws", session_token = { env = "A" } }', "identity.session_token", "access_key_id"),
        ('{ kind = "aws", region = "US EAST" }', "identity.region", "expected a region"),
        ('{ kind = "aws", profile = "p", access_key_id = { env = "A" }, secret_access_key = { env = "B" } }',
         "identity.profile", "enough"),
        ('{ kind = "entra", tenant_id = "t", client_id = "c" }', "identity", "`client_secret` is missing"),
        ('{ kind = "entra", tenant_id = "../x", client_id = "c" }', "identity.tenant_id", "a tenant"),
        (f'{{ {WHOLE}, authority = "login" }}', "identity.authority", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(identity: str, field: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(identity)
    assert f"gate.toml:5: upstream[0].{field}: " in str(caught.value)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_key_and_an_identity_are_one_too_many() -> None:
    with pytest.raises(SettingsError, match="not both"):
        read('{ kind = "aws" }', 'api_key = { env = "K" }\n')
    with pytest.raises(SettingsError, match="not both"):
        read('{ kind = "aws" }', 'api_keys = [{ env = "K" }]\n')
