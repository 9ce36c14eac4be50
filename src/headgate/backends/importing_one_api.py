"""One API's channels, and New API's, as a draft of ours.

Sources: relay/channeltype in songquanpeng/one-api and constant/channel.go in QuantumNous/new-api, for the
numbers of channel types; they agree only in part.

What a channel says that we have no word for is noted, never dropped in silence. Pure.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from headgate.backends.importing import Draft, Model, Secret, Table, secret_or_text, variable_name
from headgate.core.errors import SettingsError


class Kind(msgspec.Struct, frozen=True):
    """A channel type, in our words."""

    provider: str | None = None
    """Our row of providers.toml, for a channel without an address of its own."""
    path: str = "/v1"
    """What is added to a channel's own address, which has no version there."""
    base_url: str = ""
    """The address where no row is ours and the channel has none."""
    dialect: str = "openai"


_OPENAI = Kind("openai")
_SAME: dict[int, Kind] = {
    1: _OPENAI,
    3: Kind(None, "", "", "azure"),
    6: Kind(None, base_url="https://api.openaimax.com"),
    7: Kind(None, base_url="https://api.ohmygpt.com"),
    8: Kind(None),
    14: Kind("anthropic", dialect="anthropic"),
    16: Kind("zhipu", "/api/paas/v4"),
    17: Kind("qwen", "/compatible-mode/v1"),
    20: Kind("openrouter"),
    24: Kind("gemini", "/v1beta", dialect="gemini"),
    25: Kind("moonshot-china"),
    31: Kind(None, base_url="https://api.lingyiwanwu.com"),
    33: Kind(None, "", "", "bedrock"),
}
"""Types that both have under the same number."""

ONE_API = _SAME | {
    26: Kind(None, base_url="https://api.baichuan-ai.com"),
    27: Kind("minimax-china"),
    28: Kind("mistral"),
    29: Kind("groq"),
    30: Kind("ollama"),
    32: Kind(None, base_url="https://api.stepfun.com"),
    35: Kind("cohere", "/v2", dialect="cohere"),
    36: Kind("deepseek"),
    39: Kind("together"),
    40: Kind("doubao", "/api/v3"),
    41: Kind(None, "", "https://api.novita.ai/v3/openai"),
    42: Kind(None, "", "", "vertex"),
    44: Kind("siliconflow"),
    45: Kind("xai"),
    47: Kind(None, "/v2", "https://qianfan.baidubce.com"),
    49: Kind("qwen", "/compatible-mode/v1"),
    50: Kind(None, ""),
    51: Kind(None, "", "https://generativelanguage.googleapis.com/v1beta/openai"),
}

NEW_API = _SAME | {
    4: Kind("ollama"),
    26: Kind("zhipu", "/api/paas/v4"),
    27: Kind("perplexity", ""),
    34: Kind("cohere", "/v2", dialect="cohere"),
    35: Kind("minimax-china"),
    40: Kind("siliconflow"),
    41: Kind(None, "", "", "vertex"),
    42: Kind("mistral"),
    43: Kind("deepseek"),
    45: Kind("doubao", "/api/v3"),
    46: Kind(None, "/v2", "https://qianfan.baidubce.com"),
    47: Kind(None),
    48: Kind("xai"),
}

ENABLED = 1
HIGHEST_TIER = 100
SILENT = frozenset((
    "id", "type", "key", "name", "status", "weight", "base_url", "models", "model_mapping", "priority",
    "config", "other", "created_time", "test_time", "response_time", "balance", "balance_updated_time",
    "used_quota", "auto_ban", "group", "test_model", "tag", "remark", "channel_info", "openai_organization",
    "header_override", "max_input_tokens",
))  # fmt: skip
"""What is carried over, or was the other gateway's own bookkeeping."""


def import_one_api(document: Any) -> Draft:
    """The draft for One API's channels; raises SettingsError for what is no list of them."""
    return _import(document, ONE_API)


def import_new_api(document: Any) -> Draft:
    """The draft for New API's channels; raises SettingsError for what is no list of them."""
    return _import(document, NEW_API)


def _import(document: Any, kinds: dict[int, Kind]) -> Draft:
    channels = _channels(document)
    draft = Draft()
    # The highest priority there is our first tier.
    priorities = sorted({_number(channel.get("priority")) for channel in channels}, reverse=True)
    for channel in channels:
        tier = min(priorities.index(_number(channel.get("priority"))) + 1, HIGHEST_TIER)
        _Channel(draft, channel, kinds, tier).add()
    return draft


def _channels(document: Any) -> list[Table]:
    """The channels of an export: a list, or what the API answers, whole or a page of it."""
    found = document
    for name in ("data", "items"):
        if isinstance(found, dict):
            found = found.get(name, found)
    if not isinstance(found, list) or not all(isinstance(one, dict) and "type" in one for one in found):
        raise SettingsError(
            "no list of channels: expected what /api/channel/ answers, or a list of its entries"
        )
    return found


class _Channel:
    """One channel."""

    def __init__(self, draft: Draft, channel: Table, kinds: dict[int, Kind], tier: int) -> None:
        self._draft = draft
        self._channel = channel
        self._kind = kinds.get(_number(channel.get("type")))
        self._tier = tier
        self._name = str(channel.get("name") or f"channel {channel.get('id', '')}")
        self._config = _object(channel.get("config")) | _object(channel.get("other"))
        self._settings: Table = {}

    def add(self) -> None:
        channel = self._channel
        if channel.get("status", ENABLED) != ENABLED:
            self._note("it is disabled, and was left out")
            return
        if self._kind is None:
            self._note(f"its type {channel.get('type')} has no counterpart here")
            return
        models = [name.strip() for name in str(channel.get("models") or "").split(",") if name.strip()]
        if not models:
            self._note("it has no models, and was left out")
            return
        if not self._place(self._kind):
            return
        self._headers()
        mapping = _object(channel.get("model_mapping"))
        traits: Table = {} if self._tier == 1 else {"priority": self._tier}
        weight = _number(channel.get("weight"))
        if weight > 1:
            traits["weight"] = min(weight, 1000)
        for name in dict.fromkeys(models):
            own = mapping.get(name)
            self._draft.place(self._name, self._settings, Model(name, str(own) if own else None, traits))
        group = str(channel.get("group") or "default")
        if group != "default":
            self._note(f"groups have no counterpart (`{group}`); say in a key which models it may use")
        for name, value in channel.items():
            if name not in SILENT and value not in (None, "", 0, "{}", "[]", {}, []):
                self._note(f"`{name}` is not carried over")

    def _place(self, kind: Kind) -> bool:
        base = str(self._channel.get("base_url") or "").rstrip("/")
        match kind.dialect:
            case "azure":
                return self._azure(base)
            case "bedrock":
                return self._bedrock()
            case "vertex":
                return self._vertex()
        if not base and kind.provider is not None:
            self._settings["provider"] = kind.provider
        elif base or kind.base_url:
            if kind.dialect != "openai":
                self._settings["dialect"] = kind.dialect
            self._settings["base_url"] = (base or kind.base_url) + kind.path
        else:
            self._note("it has no address, and was left out")
            return False
        self._keys()
        return True

    def _keys(self) -> None:
        keys = [key.strip() for key in str(self._channel.get("key") or "").splitlines() if key.strip()]
        made = [Secret(variable_name(self._name, "key"), key) for key in keys]
        if len(made) > 1:
            self._settings["api_keys"] = made
        elif made:
            self._settings["api_key"] = made[0]
        else:
            self._note("the export has no key for it; add `api_key` to its upstream")

    def _azure(self, base: str) -> bool:
        if not base:
            self._note("it has no address, and was left out")
            return False
        self._settings["dialect"] = "azure"
        self._settings["base_url"] = base
        self._keys()
        version = self._config.get("api_version") or self._channel.get("other")
        if isinstance(version, str) and version and not version.startswith("{"):
            self._settings["api_version"] = version
        return True

    def _bedrock(self) -> bool:
        words = [word.strip() for word in str(self._channel.get("key") or "").split("|")]
        config = self._config
        key_id = str(config.get("ak") or (words[0] if len(words) == 3 else ""))
        secret = str(config.get("sk") or (words[1] if len(words) == 3 else ""))
        region = str(config.get("region") or (words[2] if len(words) == 3 else "")) or "us-east-1"
        self._settings["dialect"] = "bedrock"
        self._settings["base_url"] = f"https://bedrock-runtime.{region}.amazonaws.com"
        if key_id and secret:
            self._settings["identity"] = {
                "kind": "aws",
                "access_key_id": Secret(variable_name(self._name, "access_key_id"), key_id),
                "secret_access_key": Secret(variable_name(self._name, "secret_access_key"), secret),
            }
        else:
            self._settings["identity"] = {"kind": "aws"}
            self._note("the export has no key for it; AWS's usual places are asked")
        self._note(
            "its models need Bedrock's own names: write them as `upstream_name` (anthropic.claude-...)"
        )
        return True

    def _vertex(self) -> bool:
        config = self._config
        project = str(
            config.get("vertex_ai_project_id") or _object(self._channel.get("key")).get("project_id") or ""
        )
        region = str(config.get("region") or "us-central1")
        names = str(self._channel.get("models") or "")
        if not project:
            project = "PROJECT"
            self._note("the export has no project for it; write it into `base_url`")
        host = "aiplatform.googleapis.com" if region == "global" else f"{region}-aiplatform.googleapis.com"
        self._settings["dialect"] = "anthropic" if "claude" in names else "gemini"
        self._settings["base_url"] = f"https://{host}/v1/projects/{project}/locations/{region}"
        self._settings["identity"] = {"kind": "google"}
        self._note("save its credentials (JSON) as a file and name that in `identity.file`")
        return True

    def _headers(self) -> None:
        written = {
            str(name): secret_or_text(str(name), str(value), self._name)
            for name, value in _object(self._channel.get("header_override")).items()
        }
        organization = self._channel.get("openai_organization")
        if organization:
            written["openai-organization"] = str(organization)
        if written:
            self._settings["headers"] = written

    def _note(self, words: str) -> None:
        self._draft.note(f"channel {self._name!r}: {words}")


def _object(value: Any) -> Table:
    """An object, which most exports carry as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return {}
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0
