"""Writes the grammar that makes a model call a function: llama.cpp's own lets free text go before.

The notation is GBNF (github.com/ggml-org/llama.cpp, grammars/README.md). It takes schemas that
`json_schema.enforceable` let through, and must not be given others: nothing is checked here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headgate.dialects.json_schema_rules import LARGEST_INTEGER, Schema

CALLS = 16
"""Most calls in one reply: small models tend not to stop by themselves."""

OPENING, CLOSING = "<tool_call>", "</tool_call>"
"""Hermes' marks, which most templates taught and most models know."""

# Single blanks are the model's choice, which writes as it was trained; it could write more for ever.
_COMMON = r"""
ws ::= " "?
char ::= [^"\\\x7F\x00-\x1F] | [\\] (["\\/bfnrt] | "u" [0-9a-fA-F]{4})
string ::= "\"" char* "\""
natural ::= "0" | [1-9] [0-9]{0,15}
integer ::= "-"? natural
number ::= integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?
member ::= string ":" ws value
object ::= "{" (member ("," ws member)*)? "}"
array ::= "[" (value ("," ws value)*)? "]"
boolean ::= "true" | "false"
null ::= "null"
value ::= object | array | string | number | boolean | null
date ::= [0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [1-2] [0-9] | "3" [0-1])
time ::= ([0-1] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{3})? ("Z" | [+-] [0-1] [0-9] ":" [0-5] [0-9])
date-time ::= date "T" time
uuid ::= [0-9a-f]{8} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{4} "-" [0-9a-f]{12}
"""  # noqa: E501


def call_grammar(functions: Sequence[tuple[str, Schema]], *, many: bool) -> str:
    """GBNF for a call of one of these functions (name, parameters), or for up to CALLS calls of them."""
    rules = _Rules()
    calls = [
        f'"{{\\"name\\":" ws {_literal(name)} "," ws "\\"arguments\\":" ws {rules.parameters(schema)} "}}"'
        for name, schema in functions
    ]
    lines = [
        f'root ::= call ("\\n" call){{0,{CALLS - 1}}}' if many else "root ::= call",
        f'call ::= "{OPENING}" "\\n"? ({" | ".join(calls)}) "\\n"? "{CLOSING}"',
        *(f"{name} ::= {body}" for name, body in rules.bodies.items()),
    ]
    return "\n".join(lines) + _COMMON


class _Rules:
    """The rules of all functions' parameters."""

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self._definitions: dict[str, str] = {}

    def parameters(self, schema: Schema) -> str:
        """The name of the rule for one function's arguments: an object, whatever the schema says of types."""
        definitions = schema.get("$defs", {})
        self._definitions = {name: self._name() for name in definitions}
        for name, definition in definitions.items():
            self.bodies[self._definitions[name]] = self._body(definition)
        if schema.keys().isdisjoint(("type", "anyOf", "$ref", "enum", "const")):
            return "object"
        return self._rule(schema)

    def _name(self) -> str:
        name = f"r{len(self.bodies)}"
        self.bodies[name] = ""
        return name

    def _rule(self, schema: Schema) -> str:
        """The name of a rule for this schema."""
        body = self._body(schema)
        if " " not in body:
            return body
        name = self._name()
        self.bodies[name] = body
        return name

    def _body(self, schema: Schema) -> str:
        if "$ref" in schema:
            return self._definitions[schema["$ref"].removeprefix("#/$defs/")]
        if "anyOf" in schema:
            return " | ".join([self._rule(option) for option in schema["anyOf"]])
        if "enum" in schema or "const" in schema:
            values = schema["enum"] if "enum" in schema else [schema["const"]]
            return " | ".join([_literal(value) for value in values])
        match schema.get("type"):
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema)
            case "string":
                return _string(schema)
            case "integer":
                return _integer(schema.get("minimum"), schema.get("maximum"))
            case None:
                return "value"
            case kind:
                return str(kind)

    def _object(self, schema: Schema) -> str:
        properties = schema.get("properties")
        if properties is None:
            additional = self._rule(schema["additionalProperties"])
            member = f'string ":" ws {additional}'
            return f'"{{" ({member} ("," ws {member})*)? "}}"'
        required = schema.get("required", ())
        # From the last member to the first: what may follow when a member went before, and when none did.
        later, first = '""', '""'
        for name, member in reversed(properties.items()):
            pair = f'{_literal(name)} ":" ws {self._rule(member)}'
            if name in required:
                later, first = f'"," ws {pair} {later}', f"{pair} {later}"
            else:
                rest = self._kept(later)
                later, first = f'("," ws {pair})? {rest}', f"{pair} {rest} | {self._kept(first)}"
            later, first = self._kept(later), self._kept(first)
        return f'"{{" {first} "}}"'

    def _kept(self, body: str) -> str:
        if " " not in body:
            return body
        name = self._name()
        self.bodies[name] = body
        return name

    def _array(self, schema: Schema) -> str:
        if "prefixItems" in schema:
            return '"[" ' + ' "," ws '.join([self._rule(item) for item in schema["prefixItems"]]) + ' "]"'
        item = self._rule(schema["items"])
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if most == 0:
            return '"[" "]"'
        further = f'("," ws {item}){_times(max(least - 1, 0), None if most is None else most - 1)}'
        items = f"{item} {further}"
        return f'"[" {items} "]"' if least else f'"[" ({items})? "]"'


def _times(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else most}}}"


def _string(schema: Schema) -> str:
    if "format" in schema:
        return f'"\\"" {schema["format"]} "\\""'
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if least == 0 and most is None:
        return "string"
    return f'"\\"" char{_times(least, most)} "\\""'


def _literal(value: object) -> str:
    """A JSON value as a GBNF string."""
    text = msgspec.json.encode(value).decode()
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\x7f", "\\x7F") + '"'


# --- integers between bounds ----------------------------------------------------------------------


def _integer(low: int | None, high: int | None) -> str:
    if low is None and high is None:
        return "integer"
    low = -LARGEST_INTEGER if low is None else low
    high = LARGEST_INTEGER if high is None else high
    parts = []
    if low < 0:
        parts += [f'"-" {part}' for part in _naturals(max(1, -high), -low)]
    if high >= 0:
        parts += _naturals(max(0, low), high)
    return " | ".join(parts)


def _naturals(low: int, high: int) -> list[str]:
    """Alternatives that together match every number from `low` to `high`, one per count of digits."""
    return [
        _digits(str(max(low, 10 ** (count - 1) if count > 1 else 0)), str(min(high, 10**count - 1)))
        for count in range(len(str(low)), len(str(high)) + 1)
    ]


def _digits(low: str, high: str) -> str:
    """Numbers between two of the same length."""
    count = len(low)
    if low == high:
        return f'"{low}"'
    if low == "0" * count and high == "9" * count:
        return f"[0-9]{{{count}}}"
    if count == 1:
        return f"[{low}-{high}]"
    if low[0] == high[0]:
        return f'"{low[0]}" {_digits(low[1:], high[1:])}'
    parts = [f'"{low[0]}" {_digits(low[1:], "9" * (count - 1))}']
    if int(high[0]) - int(low[0]) > 1:
        parts.append(f"[{int(low[0]) + 1}-{int(high[0]) - 1}] [0-9]{{{count - 1}}}")
    parts.append(f'"{high[0]}" {_digits("0" * (count - 1), high[1:])}')
    return f"({' | '.join(parts)})"
