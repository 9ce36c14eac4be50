"""The wire formats by the names they have in the configuration."""

from __future__ import annotations

import msgspec

from headgate.core.errors import SettingsError
from headgate.core.ports import Dialect, Headers
from headgate.core.quirks import PLAIN, Quirks
from headgate.dialects.anthropic import Anthropic
from headgate.dialects.anthropic_vertex import AnthropicOnVertex
from headgate.dialects.azure import Azure
from headgate.dialects.bedrock import Bedrock
from headgate.dialects.cohere import Cohere
from headgate.dialects.gemini import Gemini
from headgate.dialects.llamacpp import LlamaCpp
from headgate.dialects.openai import OpenAI
from headgate.dialects.quirks import DepartingOpenAI


def make_dialect(
    name: str,
    *,
    headers: Headers = (),
    drop_unsupported: bool = False,
    quirks: Quirks = PLAIN,
    api_version: str | None = None,
    identity: str | None = None,
) -> Dialect:
    """The dialect of a remote upstream; `headers` are what the operator has sent along with every request.

    `identity` is the kind of the upstream's, where it has one: it tells at whose cloud a model is.

    Raises SettingsError for a setting that means nothing to it.
    """
    if api_version is not None and name != "azure":
        raise SettingsError(f'`api_version` means nothing to the dialect "{name}"')
    if quirks != PLAIN and name not in ("openai", "azure"):
        raise SettingsError(f'`quirks` mean nothing to the dialect "{name}"')
    # That one is asked for in the request's own fields, which pass.
    quirks = msgspec.structs.replace(quirks, prefill=None)
    match name:
        case "openai":
            return OpenAI() if quirks == PLAIN else DepartingOpenAI(quirks)
        case "llamacpp":
            return LlamaCpp()
        case "anthropic" if identity == "google":
            return AnthropicOnVertex(drop_unsupported=drop_unsupported, headers=headers)
        case "anthropic":
            return Anthropic(drop_unsupported=drop_unsupported, headers=headers)
        case "gemini":
            return Gemini(drop_unsupported=drop_unsupported, on_vertex=identity == "google")
        case "bedrock":
            return Bedrock(drop_unsupported=drop_unsupported)
        case "cohere":
            return Cohere(drop_unsupported=drop_unsupported)
        case "azure":
            return Azure(api_version=api_version, quirks=quirks)
    raise ValueError(name)
