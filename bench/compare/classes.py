"""Every way in which the two gateways' bodies differ, with its reason and a rule that makes them alike.

A rule takes the request and both bodies and may change either. What still differs after all rules is a
difference that nobody has explained.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any, NamedTuple

Json = dict[str, Any]
Rule = Callable[[Json, Json, Json], None]


class Class(NamedTuple):
    """One kind of difference."""

    name: str
    why: str
    """What each does, and why we do it our way."""
    rule: Rule


WHITE_SPACE = (
    "Anthropic refuses such a stop sequence. So do we, by its name, or leave it out as "
    "`unsupported` says; LiteLLM "
    "sends it."
)
ANY_JSON = (
    "No tool can be forced while the model thinks, and there is no other form for JSON without "
    "a schema. We say "
    "so; LiteLLM sends the request without the wish for JSON."
)
PARALLEL = (
    "Gemini cannot be told. We refuse it, or leave it out and tell, as `unsupported` says; "
    "LiteLLM leaves it out "
    "in silence."
)
REFUSALS = {
    "Invalid 'stop': this model takes no stop": ("white space to stop at", WHITE_SPACE),
    "'response_format' of type 'json_object' cannot be": ("any JSON while reasoning", ANY_JSON),
    "Unsupported parameter: 'parallel_tool_calls'": ("parallel calls forbidden", PARALLEL),
}
"""What we refuse and LiteLLM sends: the beginning of our words, the class's name, the reason."""


# --- Anthropic ------------------------------------------------------------------------------------


def _text_as_blocks(_: Json, ours: Json, theirs: Json) -> None:
    for body in (ours, theirs):
        for owner, name in ((body, "system"), *((message, "content") for message in body["messages"])):
            if isinstance(owner.get(name), str):
                owner[name] = [{"type": "text", "text": owner[name]}]
            for block in owner.get(name, ()):
                if isinstance(block.get("content"), str):
                    block["content"] = [{"type": "text", "text": block["content"]}]


def _type_of_tools(_: Json, ours: Json, theirs: Json) -> None:
    for tool in theirs.get("tools", ()):
        if tool.get("type") == "custom":
            del tool["type"]


def _default_limit(request: Json, ours: Json, theirs: Json) -> None:
    if not request.keys() & {"max_tokens", "max_completion_tokens"}:
        theirs["max_tokens"] = ours["max_tokens"]


def _output_format(_: Json, ours: Json, theirs: Json) -> None:
    if "output_format" in theirs:
        theirs["output_config"] = {**theirs.get("output_config", {}), "format": theirs.pop("output_format")}


def _any_json(request: Json, ours: Json, theirs: Json) -> None:
    if request.get("response_format") == {"type": "json_object"} and "tools" not in theirs:
        ours.pop("tools", None)
        ours.pop("tool_choice", None)


ANTHROPIC = (
    Class(
        "text as a string",
        "Text that stands alone is a string with us, which is shorter; LiteLLM makes a block of "
        "it. The API takes "
        "both for the same.",
        _text_as_blocks,
    ),
    Class(
        "type of tools",
        "LiteLLM writes `type: custom` beside every function, which is what a tool without a type is.",
        _type_of_tools,
    ),
    Class(
        "limit where none is set",
        "A limit is required. We send 32000, which every model since Claude 4 takes; LiteLLM the model's own "
        "largest, from a table of models that it carries along.",
        _default_limit,
    ),
    Class(
        "place of the output's form",
        "`output_config.format` is where the API has it now; LiteLLM writes `output_format`, of "
        "the beta before.",
        _output_format,
    ),
    Class(
        "any JSON",
        "`json_object`: we force a tool whose input is the answer; LiteLLM sends nothing of it "
        "for this model, "
        "so that words may come.",
        _any_json,
    ),
)


# --- Gemini ---------------------------------------------------------------------------------------


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        made = {}
        for name, item in value.items():
            # What is below these is the client's own: names there are not the API's.
            own = name in ("args", "response", "parameters", "parametersJsonSchema", "response_json_schema",
                           "responseJsonSchema", "properties")  # fmt: skip
            made[re.sub(r"_([a-z])", lambda found: found[1].upper(), name)] = item if own else _camel(item)
        return made
    return [_camel(item) for item in value] if isinstance(value, list) else value


def _spelling(_: Json, ours: Json, theirs: Json) -> None:
    changed = _camel(theirs)
    theirs.clear()
    theirs.update(changed)


def _temperature(request: Json, ours: Json, theirs: Json) -> None:
    config = theirs.get("generationConfig", {})
    if "temperature" not in request and config.get("temperature") == 1:
        del config["temperature"]
    if not config:
        theirs.pop("generationConfig", None)


def _schemas(_: Json, ours: Json, theirs: Json) -> None:
    for tool in theirs.get("tools", ()):
        for function in tool.get("functionDeclarations", ()):
            if "parameters" in function:
                function["parametersJsonSchema"] = function.pop("parameters")


def _levels(_: Json, ours: Json, theirs: Json) -> None:
    thinking = theirs.get("generationConfig", {}).get("thinkingConfig", {})
    if "thinkingLevel" in thinking:
        thinking["thinkingLevel"] = thinking["thinkingLevel"].upper()


def _turns(_: Json, ours: Json, theirs: Json) -> None:
    merged: list[Json] = []
    for turn in theirs["contents"]:
        if merged and merged[-1]["role"] == turn["role"]:
            merged[-1]["parts"] += turn["parts"]
        else:
            merged.append(turn)
    theirs["contents"] = merged


def _results(_: Json, ours: Json, theirs: Json) -> None:
    for part in _parts(theirs):
        result = part.get("functionResponse")
        if result is not None and result["response"].keys() == {"content"}:
            result["response"] = {"output": result["response"]["content"]}


def _signatures(_: Json, ours: Json, theirs: Json) -> None:
    for part in _parts(theirs):
        if "thoughtSignature" in part:
            part["thoughtSignature"] = b64decode(part["thoughtSignature"]).decode()


def _auto(_: Json, ours: Json, theirs: Json) -> None:
    if theirs.get("toolConfig") == {"functionCallingConfig": {"mode": "AUTO"}}:
        del theirs["toolConfig"]


def _parts(body: Json) -> list[Json]:
    return [part for turn in body["contents"] for part in turn["parts"]]


GEMINI = (
    Class(
        "spelling",
        "The API's names in JSON are `camelCase`, as its documents have them; LiteLLM writes some with "
        "underscores, which the API reads too.",
        _spelling,
    ),
    Class(
        "temperature where none is set",
        "LiteLLM sends 1.0 for models since Gemini 3, which is their own default.",
        _temperature,
    ),
    Class(
        "schemas of functions",
        "We send JSON Schema as it came, in the field for it (`parametersJsonSchema`); LiteLLM "
        "rewrites it for "
        "`parameters`, which knows a part of it.",
        _schemas,
    ),
    Class("levels of thinking", "`HIGH` is how the API spells it; LiteLLM writes `high`.", _levels),
    Class(
        "turns of one side",
        "Results and the words after them are one turn of the user with us, since turns "
        "alternate; with LiteLLM "
        "two.",
        _turns,
    ),
    Class(
        "name of a result",
        "A result that is no object goes under `output`, the key that the API's documents name; LiteLLM's is "
        "`content`.",
        _results,
    ),
    Class(
        "stand-in for a signature",
        "The word that Google documents for calls without one is sent as it stands, as Google's "
        "own tools do; "
        "LiteLLM sends its base64.",
        _signatures,
    ),
    Class("choice that is none", "`AUTO` is what happens anyway: we leave it out, LiteLLM says it.", _auto),
)

CLASSES = {"anthropic": ANTHROPIC, "gemini": GEMINI}
