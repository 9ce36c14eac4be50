"""Other gateways' configurations, as they are in use: ours is readable, keyless, and says what is missing."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.backends.importers import IMPORTERS
from headgate.backends.importing import Draft, Model, Secret
from headgate.backends.providers import known_providers
from headgate.core.errors import SettingsError
from headgate.core.settings import Settings, Upstream
from headgate.core.settings_text import parse
from tests.structure.pages import AnyPlace

FOLDER = Path(__file__).parent / "imports"
FILES = {"litellm": "litellm.yaml", "one-api": "one_api.json", "new-api": "new_api.json"}
INLINE = (
    "sk-ant-inline",
    "inline-header-key",
    "sk-1234",
    "sk-lf-secret",
    "password",
    "sk-openai",
    "sk-relay",
    "azure-key",
    "sk-deepseek",
    "aws-secret",
    "AKIDEXAMPLE",
    "sk-ali",
    "co-key",
    "AIza-key",
    "mistral-key",
    "Bearer inline",
    "sk-off",
    "ark-key",
)


def draft(kind: str) -> Draft:
    importer = IMPORTERS[kind]
    return importer.draft(importer.read((FOLDER / FILES[kind]).read_text("utf-8")))


def settings(kind: str) -> Settings:
    text = draft(kind).toml(lambda secret: {"env": secret.name})
    return parse(text, "made.toml", outside=AnyPlace(), providers=known_providers())


def targets(made: Settings, name: str) -> list[tuple[str, str, int, int]]:
    return [
        (upstream.name, model.sent_as, model.priority, model.weight)
        for upstream in made.upstreams
        for model in upstream.models
        if model.name == name
    ]


def upstream(made: Settings, name: str) -> Upstream:
    return next(one for one in made.upstreams if one.name == name)


@pytest.mark.parametrize("kind", FILES)
def test_what_is_made_can_be_read_and_holds_no_key(kind: str) -> None:
    made = draft(kind)
    text = made.toml(lambda secret: {"env": secret.name})
    assert settings(kind).upstreams
    for place in (text, *made.notes, repr(made.secrets())):
        assert not [secret for secret in INLINE if secret in place]
    in_file = (FOLDER / FILES[kind]).read_text()
    assert all(secret.value in in_file.replace('\\"', '"').replace("\\n", "\n") for secret in made.secrets())
    assert len({secret.name for secret in made.secrets()}) == len(made.secrets())


# --- LiteLLM --------------------------------------------------------------------------------------


def test_litellms_deployments() -> None:
    made = settings("litellm")
    assert targets(made, "gpt-4o") == [
        ("azure-our-eu.openai.azure.com", "gpt-4o-eu", 1, 9),
        ("openai", "gpt-4o", 2, 1),
    ]
    azure = upstream(made, "azure-our-eu.openai.azure.com")
    assert (azure.dialect, azure.base_url, azure.api_version) == (
        "azure", "https://our-eu.openai.azure.com/", "2024-10-21",
    )  # fmt: skip
    assert azure.api_key is not None
    assert azure.api_key.origin == "env:AZURE_API_KEY_EU"
    assert (azure.models[0].vision, azure.models[0].context_tokens) == (True, 128_000)
    # One upstream for what is reached the same way.
    openai = upstream(made, "openai")
    assert [model.name for model in openai.models] == ["gpt-4o", "gpt-4o-mini"]
    assert (openai.first_byte_timeout_ms, openai.unsupported) == (30_000, "drop")
    assert targets(made, "groq/*") == [("groq", "*", 1, 1)]
    assert targets(made, "own") == [("vllm", "Qwen/Qwen3-32B", 1, 1)]
    assert upstream(made, "vllm").api_key is None
    assert upstream(made, "ollama").base_url == "http://ollama:11434/v1"
    assert upstream(made, "cohere").dialect == "cohere"


def test_litellms_clouds() -> None:
    made = settings("litellm")
    bedrock = upstream(made, "bedrock-bedrock-runtime.us-west-2.amazonaws.com")
    assert bedrock.identity is not None
    assert bedrock.identity.access_key_id is not None
    assert bedrock.identity.access_key_id.origin == "env:AWS_ID"
    assert bedrock.models[0].sent_as == "us.anthropic.claude-sonnet-4-6"
    [vertex] = [
        one for one in made.upstreams if "projects/our-project/locations/europe-west1" in one.base_url
    ]
    assert (vertex.dialect, vertex.models[0].sent_as) == ("anthropic", "claude-sonnet-4-6")
    assert vertex.identity is not None
    assert (vertex.identity.kind, vertex.identity.file) == ("google", "/etc/google/account.json")
    entra = upstream(made, "azure-our-us.openai.azure.com").identity
    assert entra is not None
    assert (entra.kind, entra.tenant_id, entra.client_id) == ("entra", "our-tenant", "our-app")


def test_litellms_rules() -> None:
    made = settings("litellm")
    assert made.aliases == {"gpt-4": "gpt-4o", "hidden": "claude"}
    assert (made.routing.attempts, made.routing.total_timeout_ms) == (4, 600_000)
    assert made.routing.strategy == "fastest"
    [named] = made.named_models
    assert named.name == "gpt-4o"
    assert [(target.model, target.priority) for target in named.targets] == [
        ("gpt-4o-eu", 1), ("gpt-4o", 1), ("claude-sonnet-4-6", 2), ("us.anthropic.claude-sonnet-4-6", 2),
    ]  # fmt: skip


def test_what_of_litellms_is_left_out_is_said() -> None:
    notes = "\n".join(draft("litellm").notes)
    for said in (
        "gpt-4o: `rpm` is not carried over",
        "team: `temperature` is not carried over",
        "team: write what is in TEAM_URL into `base_url`",
        "odd: the provider `sagemaker`",
        "the fallbacks of `local`",
        "litellm_settings: `cache`",
        "litellm_settings: `callbacks`",
        "the alias `lost`",
        "router_settings: `redis_host`",
        "`master_key` is HEADGATE_MASTER_KEY here",
        "general_settings: `database_url`",
        "set LANGFUSE_SECRET_KEY",
    ):
        assert said in notes


# --- One API, New API -----------------------------------------------------------------------------


def test_one_apis_channels() -> None:
    made = settings("one-api")
    assert targets(made, "gpt-4o") == [("OpenAI", "gpt-4o", 1, 5), ("relay", "gpt-4o", 3, 1)]
    main = upstream(made, "OpenAI")
    assert (main.base_url, len(main.api_keys)) == ("https://api.openai.com/v1", 2)
    assert targets(made, "gpt-4") == [("OpenAI", "gpt-4-0613", 1, 5)]
    assert upstream(made, "relay").base_url == "https://relay.example.com/v1"
    azure = upstream(made, "azure")
    assert (azure.dialect, azure.api_version) == ("azure", "2024-06-01")
    assert upstream(made, "deepseek").quirks.developer_role == "system"
    assert upstream(made, "ali").base_url == "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"
    assert upstream(made, "ollama").base_url == "http://ollama:11434/v1"
    assert upstream(made, "cohere").base_url == "https://api.cohere.com/v2"
    aws = upstream(made, "aws")
    assert aws.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com"
    assert aws.identity is not None
    assert aws.identity.secret_access_key is not None
    vertex = upstream(made, "vertex")
    assert vertex.base_url.endswith("/projects/our-project/locations/us-east5")
    assert {one.name for one in made.upstreams}.isdisjoint({"off", "xunfei"})
    notes = "\n".join(draft("one-api").notes)
    for said in (
        "'off': it is disabled",
        "'xunfei': its type 18",
        "`vip`",
        "`system_prompt`",
        "identity.file",
    ):
        assert said in notes


def test_new_apis_channels() -> None:
    """Its types have other numbers: 43 is DeepSeek there, and a proxy in One API."""
    made = settings("new-api")
    deepseek = upstream(made, "deepseek")
    assert (deepseek.base_url, deepseek.headers["X-Team"].reveal()) == ("https://api.deepseek.com", "blue")
    assert deepseek.headers["Authorization"].origin.startswith("env:")
    aws = upstream(made, "aws")
    assert aws.models[0].sent_as == "us.anthropic.claude-sonnet-4-6"
    assert len(upstream(made, "gemini").models) == 1
    assert upstream(made, "mistral").headers["openai-organization"].reveal() == "org-1"
    notes = "\n".join(draft("new-api").notes)
    for said in (
        "'midjourney': its type 2",
        "'volc': it is disabled",
        "`setting` is not carried",
        "default,vip",
    ):
        assert said in notes


# --- what is not one ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("litellm", "- a"),
        ("litellm", "model_list: 7"),
        ("litellm", "a: [sk-secret"),
        ("litellm", "!!python/object:os.x {}"),
        ("one-api", "{"),
        ("one-api", "{}"),
        ("one-api", '{"data": [{"name": "sk-secret"}]}'),
        ("new-api", "[1]"),
    ],
)
def test_what_is_none_is_refused_without_being_repeated(kind: str, text: str) -> None:
    importer = IMPORTERS[kind]
    with pytest.raises(SettingsError) as caught:
        importer.draft(importer.read(text))
    assert "sk-secret" not in str(caught.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
PARAMS = st.dictionaries(
    st.sampled_from(
        [
            "model",
            "api_base",
            "api_key",
            "weight",
            "order",
            "timeout",
            "extra_headers",
            "x",
            "aws_region_name",
        ]
    ),
    VALUES,
)


@given(st.lists(st.fixed_dictionaries({"model_name": VALUES, "litellm_params": PARAMS}), max_size=4), VALUES)
def test_no_configuration_breaks_it(entries: list[Any], odd: Any) -> None:
    document = {
        "model_list": entries,
        "litellm_settings": odd,
        "router_settings": odd,
        "general_settings": odd,
    }
    tomllib.loads(IMPORTERS["litellm"].draft(document).toml(lambda secret: {"env": secret.name}))


CHANNELS = st.dictionaries(
    st.sampled_from(
        ["key", "name", "status", "models", "model_mapping", "config", "base_url", "priority", "weight"]
    ),
    VALUES,
)


@given(st.lists(CHANNELS), st.integers(0, 60))
def test_no_channel_breaks_it(channels: list[Any], kind: int) -> None:
    for name in ("one-api", "new-api"):
        document = [{**channel, "type": kind} for channel in channels]
        tomllib.loads(IMPORTERS[name].draft(document).toml(lambda secret: {"env": secret.name}))


@given(st.text(), st.text(min_size=1))
def test_any_text_is_written_as_toml(text: str, key: str) -> None:
    made = Draft()
    made.place("x", {"base_url": text, "headers": {key: Secret("A", "b")}}, Model(text))
    if any("\ud800" <= letter <= "\udfff" for letter in text + key):
        return
    [found] = tomllib.loads(made.toml(lambda secret: {"env": secret.name}))["upstream"]
    assert found["base_url"] == text
    assert found["models"] == [text]
    assert found["headers"] == {key: {"env": "A"}}
    assert json.dumps(found)
