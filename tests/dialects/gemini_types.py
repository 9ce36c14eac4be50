"""Whether the official `google-genai` SDK's types have a request: every field of it, and none besides."""

from __future__ import annotations

import json
from typing import Any

from google.genai import types
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Request(BaseModel):
    """The body of generateContent, of the SDK's own types; it has none for the whole."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    contents: list[types.Content]
    system_instruction: types.Content | None = None
    tools: list[types.Tool] | None = None
    tool_config: types.ToolConfig | None = None
    safety_settings: list[types.SafetySetting] | None = None
    generation_config: types.GenerationConfig | None = None
    cached_content: str | None = None
    service_tier: types.ServiceTier | None = None
    store: bool | None = None


def accepted(body: dict[str, Any]) -> None:
    """Fails when the types do not have this body; they forbid fields that they do not know."""
    found = Request.model_validate_json(json.dumps(body))
    written = found.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert same_base64(written) == same_base64(body)


def same_base64(value: Any, name: str = "") -> Any:
    """The same with its base64 in the usual alphabet; Google reads that for URLs as well."""
    if isinstance(value, dict):
        return {key: same_base64(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [same_base64(item) for item in value]
    if name in ("data", "thoughtSignature"):
        return value.replace("-", "+").replace("_", "/")
    return value
