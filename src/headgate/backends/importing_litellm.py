"""LiteLLM's configuration as a draft of ours. Source: docs.litellm.ai/docs/proxy/config_settings.

What it says that we have no word for is noted, never dropped in silence. Pure.
"""

from __future__ import annotations

import re
from typing import Any

from headgate.backends.importing import Draft, Model, Secret, Table, Variable, secret_or_text, variable_name
from headgate.core.errors import SettingsError

PROVIDERS = {
    "anthropic": "anthropic",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "dashscope": "qwen-international",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "gemini",
    "groq": "groq",
    "hosted_vllm": "vllm",
    "huggingface": "huggingface",
    "lm_studio": "lmstudio",
    "minimax": "minimax",
    "mistral": "mistral",
    "moonshot": "moonshot",
    "nvidia_nim": "nvidia",
    "ollama": "ollama",
    "ollama_chat": "ollama",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together_ai": "together",
    "vllm": "vllm",
    "volcengine": "doubao",
    "xai": "xai",
    "zai": "zai",
}
"""Its prefixes and our rows in providers.toml."""

BY_BEGINNING = {"gpt-": "openai", "o1": "openai", "o3": "openai", "o4": "openai", "chatgpt": "openai",
                "text-embedding-": "openai", "claude-": "anthropic", "command-": "cohere",
                "gemini-": "vertex_ai"}  # fmt: skip
"""Whose a model without a prefix is, by how its name begins."""

STRATEGIES = {
    "simple-shuffle": "weighted",
    "least-busy": "least_busy",
    "latency-based-routing": "fastest",
}

CARRIED = frozenset((
    "model", "api_base", "base_url", "api_key", "api_version", "weight", "order", "timeout", "stream_timeout",
    "max_parallel_requests", "extra_headers", "drop_params", "aws_access_key_id", "aws_secret_access_key",
    "aws_session_token", "aws_profile_name", "aws_region_name", "aws_bedrock_runtime_endpoint",
    "vertex_project", "vertex_location", "vertex_credentials", "tenant_id", "client_id", "client_secret",
    "custom_llm_provider", "organization",
))  # fmt: skip

_ENVIRONMENT = "os.environ/"
_ROUTES = re.compile(r"^(?:converse|invoke|converse_like)/")


def import_litellm(document: Any) -> Draft:
    """The draft; raises SettingsError for what is no such configuration."""
    if not isinstance(document, dict) or not isinstance(document.get("model_list"), list):
        raise SettingsError("no `model_list`: this is not a configuration of LiteLLM's proxy")
    draft = Draft()
    general = _table(document, "litellm_settings")
    drop = general.get("drop_params") is True
    for entry in document["model_list"]:
        if isinstance(entry, dict) and isinstance(entry.get("litellm_params"), dict):
            _Entry(draft, entry, drop=drop).add()
        else:
            draft.note("an entry of `model_list` without `litellm_params` was left out")
    router = _table(document, "router_settings")
    _fallbacks(draft, [*_list(general, "fallbacks"), *_list(router, "fallbacks")])
    _rules(draft, general, router)
    _leave_out(draft, document, general, router)
    return draft


class _Entry:
    """One deployment of `model_list`."""

    def __init__(self, draft: Draft, entry: Table, *, drop: bool) -> None:
        self._draft = draft
        self._name = str(entry.get("model_name", ""))
        self._params: Table = entry["litellm_params"]
        self._info = _table(entry, "model_info")
        self._drop = drop
        self._settings: Table = {}
        self._own_name = ""

    def add(self) -> None:
        params = self._params
        model = str(params.get("model", ""))
        prefix, slash, rest = model.partition("/")
        if not self._name or not model:
            self._draft.note("an entry of `model_list` without `model_name` or `model` was left out")
            return
        provider = str(params.get("custom_llm_provider") or (prefix if slash else _owner(model)))
        self._own_name = rest if slash and not params.get("custom_llm_provider") else model
        if not self._place(provider):
            self._draft.note(f"{self._name}: the provider `{provider}` of `{model}` is not known here")
            return
        self._common()
        for name in sorted(params.keys() - CARRIED):
            self._draft.note(f"{self._name}: `{name}` is not carried over")
        carried = Model(self._name, self._own_name, self._traits())
        self._draft.place(self._upstream_name(provider), self._settings, carried)

    def _upstream_name(self, provider: str) -> str:
        base = self._settings.get("base_url", "")
        host = re.sub(r"^https?://([^/:]+).*$", r"\1", base)
        named = str(self._settings.get("provider") or provider)
        return f"{named}-{host}" if host and "provider" not in self._settings else named

    def _place(self, provider: str) -> bool:
        """Where it is and how it is spoken to; whether that is known."""
        base = self._params.get("api_base") or self._params.get("base_url")
        match provider:
            case "azure" | "azure_text":
                return self._azure(base)
            case "bedrock" | "bedrock_converse":
                self._own_name = _ROUTES.sub("", self._own_name)
                return self._bedrock(base)
            case "vertex_ai" | "vertex_ai_beta":
                return self._vertex()
        row = PROVIDERS.get(provider)
        if row is not None:
            self._settings["provider"] = row
        elif base:
            self._settings["dialect"] = "openai"
        else:
            return False
        if base:
            self._settings["base_url"] = _with_version(self._address(base), row)
        self._key(provider, needed=row is None)
        return True

    def _azure(self, base: Any) -> bool:
        self._settings["dialect"] = "azure"
        self._settings["base_url"] = self._address(base or "https://NAME.openai.azure.com").split("/openai")[
            0
        ]
        if not base:
            self._draft.note(f"{self._name}: `api_base` is missing; put your resource's name into `base_url`")
        params = self._params
        if params.get("client_secret"):
            self._settings["identity"] = {
                "kind": "entra",
                "tenant_id": self._text("tenant_id"),
                "client_id": self._text("client_id"),
                "client_secret": self._secret("client_secret"),
            }
        else:
            self._settings["api_key"] = self._secret("api_key") or Variable("AZURE_API_KEY")
        if params.get("api_version"):
            self._settings["api_version"] = self._text("api_version")
        return True

    def _bedrock(self, base: Any) -> bool:
        params = self._params
        region = self._text("aws_region_name") or "us-east-1"
        if not params.get("aws_region_name"):
            self._draft.note(f"{self._name}: no `aws_region_name`; us-east-1 was taken")
        given = base or params.get("aws_bedrock_runtime_endpoint")
        self._settings["dialect"] = "bedrock"
        self._settings["base_url"] = self._address(given or f"https://bedrock-runtime.{region}.amazonaws.com")
        identity: Table = {"kind": "aws"}
        if params.get("aws_access_key_id"):
            for name in ("access_key_id", "secret_access_key", "session_token"):
                if params.get(f"aws_{name}"):
                    identity[name] = self._secret(f"aws_{name}")
        elif params.get("aws_profile_name"):
            identity["profile"] = self._text("aws_profile_name")
        if given:
            identity["region"] = region
        if params.get("api_key"):
            self._settings["api_key"] = self._secret("api_key")
        else:
            self._settings["identity"] = identity
        return True

    def _vertex(self) -> bool:
        params = self._params
        project = self._text("vertex_project") or "PROJECT"
        location = self._text("vertex_location") or "us-central1"
        if project == "PROJECT":
            self._draft.note(f"{self._name}: no `vertex_project`; put it into `base_url`")
        host = "aiplatform.googleapis.com"
        host = host if location == "global" else f"{location}-{host}"
        self._settings["dialect"] = "anthropic" if "claude" in self._own_name else "gemini"
        self._settings["base_url"] = f"https://{host}/v1/projects/{project}/locations/{location}"
        identity: Table = {"kind": "google"}
        credentials = params.get("vertex_credentials")
        if isinstance(credentials, str) and not credentials.startswith((_ENVIRONMENT, "{")):
            identity["file"] = credentials
        elif credentials:
            self._draft.note(
                f"{self._name}: save `vertex_credentials` as a file and name that in `identity.file`"
            )
        self._settings["identity"] = identity
        return True

    def _key(self, provider: str, *, needed: bool) -> None:
        key = self._secret("api_key")
        if key is not None:
            self._settings["api_key"] = key
        elif needed:
            self._draft.note(f"{self._name}: no `api_key`; add one to its upstream if `{provider}` wants it")

    def _secret(self, name: str) -> Variable | Secret | None:
        given = self._params.get(name)
        if not isinstance(given, str) or given.lower() in ("", "none", "empty", "not-needed"):
            return None
        if given.startswith(_ENVIRONMENT):
            return Variable(given.removeprefix(_ENVIRONMENT))
        return Secret(variable_name(self._name, name), given)

    def _text(self, name: str) -> str:
        """A parameter that is text here; one that is in the environment has to be written out by hand."""
        value = self._params.get(name)
        if isinstance(value, str) and value.startswith(_ENVIRONMENT):
            variable = value.removeprefix(_ENVIRONMENT)
            self._draft.note(f"{self._name}: write what is in {variable} where its name stands (`{name}`)")
            return variable
        return "" if value is None else str(value)

    def _address(self, value: Any) -> str:
        text = str(value)
        if text.startswith(_ENVIRONMENT):
            variable = text.removeprefix(_ENVIRONMENT)
            self._draft.note(f"{self._name}: write what is in {variable} into `base_url`")
            return f"https://{variable.lower().replace('_', '-')}.invalid"
        return text

    def _common(self) -> None:
        params = self._params
        headers = params.get("extra_headers")
        if isinstance(headers, dict):
            written: Table = {}
            for name, value in headers.items():
                text = str(value)
                if text.startswith(_ENVIRONMENT):
                    written[str(name)] = Variable(text.removeprefix(_ENVIRONMENT))
                else:
                    written[str(name)] = secret_or_text(str(name), text, self._name)
            self._settings["headers"] = written
        if params.get("organization"):
            organization = self._text("organization")
            self._settings.setdefault("headers", {})["openai-organization"] = organization
        timeout = params.get("stream_timeout") or params.get("timeout")
        if isinstance(timeout, int | float) and timeout > 0:
            self._settings["first_byte_timeout_ms"] = min(int(timeout * 1000), 86_400_000)
        if params.get("drop_params", self._drop) is True:
            self._settings["unsupported"] = "drop"

    def _traits(self) -> Table:
        params, traits = self._params, {}
        for name, ours, most in (
            ("order", "priority", 100),
            ("weight", "weight", 1000),
            ("max_parallel_requests", "max_in_flight", 10**6),
        ):  # fmt: skip
            value = params.get(name)
            if isinstance(value, int | float) and value >= 1:
                traits[ours] = min(int(value), most)
        for name, ours in (("supports_vision", "vision"), ("supports_function_calling", "tools")):
            if isinstance(self._info.get(name), bool):
                traits[ours] = self._info[name]
        longest = self._info.get("max_input_tokens")
        if isinstance(longest, int) and longest > 0:
            traits["context_tokens"] = longest
        return traits


def _fallbacks(draft: Draft, fallbacks: list[Any]) -> None:
    """A list of other models becomes further tiers of the model's own targets."""
    for fallback in fallbacks:
        for name, others in fallback.items() if isinstance(fallback, dict) else ():
            names = [name, *(other for other in others if isinstance(other, str))]
            targets = [
                {"upstream": upstream.name, "model": model.upstream_name or model.name, **model.traits,
                 "priority": tier}
                for tier, one in enumerate(names, 1)
                for upstream in draft.upstreams
                for model in upstream.models
                if model.name == one
            ]  # fmt: skip
            if any(target["priority"] == 1 for target in targets) and len(targets) > 1:
                draft.models.append({"name": name, "targets": targets})
            else:
                draft.note(f"the fallbacks of `{name}` name no model that was carried over")


def _rules(draft: Draft, general: Table, router: Table) -> None:
    retries = router.get("num_retries", general.get("num_retries"))
    if isinstance(retries, int) and 0 <= retries < 20:
        draft.routing["attempts"] = retries + 1
    timeout = router.get("timeout", general.get("request_timeout"))
    if isinstance(timeout, int | float) and timeout > 0:
        draft.routing["total_timeout_ms"] = min(int(timeout * 1000), 86_400_000)
    strategy = router.get("routing_strategy")
    if strategy in STRATEGIES:
        draft.routing["strategy"] = STRATEGIES[strategy]
    elif strategy is not None:
        draft.note(f"router_settings: the routing strategy `{strategy}` has no counterpart")
    served = {model.name for upstream in draft.upstreams for model in upstream.models}
    for alias, target in _table(router, "model_group_alias").items():
        name = target.get("model") if isinstance(target, dict) else target
        if name in served and alias not in served:
            draft.aliases[alias] = str(name)
        else:
            draft.note(f"router_settings: the alias `{alias}` could not be carried over")


def _leave_out(draft: Draft, document: Table, general: Table, router: Table) -> None:
    known = {"drop_params", "fallbacks", "num_retries", "request_timeout"}
    draft.notes += [
        f"litellm_settings: `{name}` is not carried over" for name in general if name not in known
    ]
    known = {"fallbacks", "num_retries", "timeout", "routing_strategy", "model_group_alias"}
    draft.notes += [f"router_settings: `{name}` is not carried over" for name in router if name not in known]
    for name in _table(document, "general_settings"):
        if name == "master_key":
            draft.note(
                "general_settings: `master_key` is HEADGATE_MASTER_KEY here; keys of clients are made anew"
            )
        else:
            draft.note(f"general_settings: `{name}` is not carried over")
    for name in _table(document, "environment_variables"):
        draft.note(f"environment_variables: set {name} in the gate's own environment")
    whole = {"model_list", "litellm_settings", "router_settings", "general_settings", "environment_variables"}
    draft.notes += [f"`{name}` is not carried over" for name in document if name not in whole]


def _owner(model: str) -> str:
    for beginning, owner in BY_BEGINNING.items():
        if model.startswith(beginning):
            return owner
    return "openai"


def _with_version(base: str, row: str | None) -> str:
    """Its base of an Ollama has no `/v1`; all others do, or have another version."""
    base = base.rstrip("/")
    return f"{base}/v1" if row == "ollama" and not base.endswith("/v1") else base


def _table(document: Table, name: str) -> Table:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _list(document: Table, name: str) -> list[Any]:
    found = document.get(name)
    return found if isinstance(found, list) else []
