"""Makes a client's JSON Schema safe and honest for a grammar compiler that trusts its input.

llama.cpp's compiler ignores keywords that it does not know, never ends on a minimum above its maximum,
writes patterns that are not JSON, and takes seconds for a few kilobytes. So only what it enforces leaves this
module, within bounds. Must not know where the schema stood in the request, but for the name to blame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from headgate.core.errors import InvalidField
from headgate.dialects.json_schema_rules import (
    CONSTRAINTS,
    DEFINITIONS,
    DEPTH,
    FORMATS,
    LARGEST_INTEGER,
    NEVER,
    NOTES,
    OPTIONAL,
    REPEATS,
    SPEAKS_OF,
    TYPES,
    UNENFORCED,
    WAYS,
    Budget,
    Schema,
)


def enforceable(schema: object, param: str, budget: Budget, *, strict: bool) -> Schema:
    """The part of a schema that a grammar can hold a model to, with references of its own under `$defs`.

    A keyword that cannot be enforced is an error where the client asked for `strict`, and is left out
    elsewhere. Raises InvalidField that names `param` for it, and for what is no schema or is too large.
    """
    return _Reading(schema, param, budget, strict=strict).result()


class _Reading:
    def __init__(self, root: object, param: str, budget: Budget, *, strict: bool) -> None:
        self._root = root
        self._param = param
        self._budget = budget
        self._strict = strict
        self._names: dict[str, str] = {}
        """Each reference as it was written, and the name of its definition."""
        self._definitions: Schema = {}
        self._alternatives: list[Schema] = []
        self._waiting: list[tuple[str, object, str]] = []
        """Definitions still to be read: name, schema, reference."""

    def result(self) -> Schema:
        schema = self._read(self._root, "$", 0)
        while self._waiting:
            name, target, reference = self._waiting.pop()
            self._definitions[name] = self._read(target, reference, 0)
        ways: dict[str, int] = {}
        for found in self._alternatives:
            self._ways(found, ways, 0)
        for name in self._definitions:
            self._ways({"$ref": f"#/$defs/{name}"}, ways, 0)
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    # --- any schema --------------------------------------------------------------------------------

    def _read(self, schema: object, at: str, depth: int) -> Schema:
        if schema is True:
            schema = {}
        if not isinstance(schema, dict):
            raise self._wrong(at, "no value can match false" if schema is False else "a schema is an object")
        self._spend("nodes", 1, at)
        if depth > DEPTH:
            raise self._wrong(at, f"nested deeper than {DEPTH} levels")
        for keyword in NEVER:
            if keyword in schema:
                self._cannot(at, keyword)
        notes = {keyword: schema[keyword] for keyword in NOTES if keyword in schema}
        made = {**notes, **self._core(schema, at, depth)}
        # In the client's order: a template shows the schema to the model, and small ones mind.
        return {**{keyword: made[keyword] for keyword in schema if keyword in made}, **made}

    def _core(self, schema: Schema, at: str, depth: int) -> Schema:
        if "$ref" in schema:
            self._alone(schema, at, "$ref")
            return self._reference(schema["$ref"], at)
        if "allOf" in schema:
            return self._core(self._merged(schema, at, depth), at, depth)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema and not self._says_only_more(schema, keyword):
                self._alone(schema, at, keyword)
                found = {"anyOf": self._list(schema[keyword], f"{at}.{keyword}", depth)}
                self._alternatives.append(found)
                return found
        if "const" in schema:
            return self._fixed("const", [schema["const"]], at)
        if "enum" in schema:
            if not isinstance(schema["enum"], list) or not schema["enum"]:
                raise self._wrong(at, "enum must be an array with a value in it")
            return self._fixed("enum", schema["enum"], at)
        return self._typed(schema, at, depth)

    def _typed(self, schema: Schema, at: str, depth: int) -> Schema:
        kinds = schema.get("type")
        if isinstance(kinds, list) and len(kinds) != 1:
            if not kinds:
                raise self._wrong(at, "type must not be empty")
            # Not as it was written: the compiler would read the members once for each type.
            return {"anyOf": [self._read({**schema, "type": kind}, at, depth + 1) for kind in kinds]}
        kind = kinds[0] if isinstance(kinds, list) else kinds
        if kind is None:
            kind = next(
                (kind for kind, words in SPEAKS_OF.items() if any(word in schema for word in words)), None
            )
            if kind is None:
                return {}
        if not isinstance(kind, str) or kind not in TYPES:
            raise self._wrong(at, f"unknown type {str(kind)[:40]!r}")
        for keyword in UNENFORCED.get(kind, ()):
            if keyword in schema and schema[keyword] is not False:
                self._cannot(at, keyword)
        read: Callable[[Schema, str, int], Schema] | None = {
            "object": self._object, "array": self._array, "string": self._string, "integer": self._integer,
        }.get(kind)  # fmt: skip
        return {"type": kind, **(read(schema, at, depth) if read else {})}

    def _fixed(self, keyword: str, values: list[Any], at: str) -> Schema:
        self._spend("choices", len(values), at)
        self._spend("characters", sum(_size(value) for value in values), at)
        return {keyword: values if keyword == "enum" else values[0]}

    def _list(self, schemas: object, at: str, depth: int) -> list[Schema]:
        if not isinstance(schemas, list) or not schemas:
            raise self._wrong(at, "must be an array with a schema in it")
        return [self._read(schema, f"{at}[{index}]", depth + 1) for index, schema in enumerate(schemas)]

    # --- each type ---------------------------------------------------------------------------------

    def _object(self, schema: Schema, at: str, depth: int) -> Schema:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not isinstance(properties, dict):
            raise self._wrong(at, "properties must be an object")
        if not isinstance(required, list) or not all(isinstance(name, str) for name in required):
            raise self._wrong(at, "required must be an array of strings")
        members = {**properties, **{name: {} for name in required if name not in properties}}
        self._spend("characters", sum(map(len, members)), at)
        if len(members) - len(set(required)) > OPTIONAL:
            raise self._wrong(at, f"more than {OPTIONAL} properties that are not required")
        if not members:
            additional = schema.get("additionalProperties", True)
            if additional is False:
                return {"properties": {}, "additionalProperties": False}
            return {"additionalProperties": self._read(additional, f"{at}.additionalProperties", depth + 1)}
        made: Schema = {
            "properties": {
                name: self._read(each, f"{at}.properties.{name[:40]}", depth + 1)
                for name, each in members.items()
            }
        }
        if required:
            made["required"] = list(dict.fromkeys(required))
        if "additionalProperties" in schema:
            # Members beyond those named are allowed at most, and the compiler writes wrong grammars for them.
            made["additionalProperties"] = False
        return made

    def _array(self, schema: Schema, at: str, depth: int) -> Schema:
        items = schema.get("items", True)
        first = schema.get("prefixItems", items if isinstance(items, list) else None)
        if first is not None:
            for keyword in ("minItems", "maxItems"):
                if keyword in schema and schema[keyword] != len(first):
                    self._cannot(at, keyword)
            return {"prefixItems": self._list(first, f"{at}.prefixItems", depth)}
        return {
            "items": self._read(items, f"{at}.items", depth + 1),
            **self._bounds(schema, at, "minItems", "maxItems"),
        }

    def _string(self, schema: Schema, at: str, _depth: int) -> Schema:
        form = schema.get("format")
        if isinstance(form, str) and form in FORMATS:
            return {"format": form}
        return self._bounds(schema, at, "minLength", "maxLength")

    def _bounds(self, schema: Schema, at: str, least: str, most: str) -> Schema:
        found: Schema = {}
        for keyword in (least, most):
            bound = schema.get(keyword)
            if bound is None:
                continue
            if (
                not isinstance(bound, (int, float))
                or isinstance(bound, bool)
                or bound < 0
                or bound != int(bound)
            ):
                raise self._wrong(at, f"{keyword} must be a whole number that is not negative")
            if bound > REPEATS:
                self._cannot(at, keyword, f"above {REPEATS}")
            else:
                found[keyword] = int(bound)
        if found.get(least, 0) > found.get(most, math.inf):
            raise self._wrong(at, f"{least} is above {most}")
        return found

    def _integer(self, schema: Schema, at: str, _depth: int) -> Schema:
        low, high = -math.inf, math.inf
        for keyword in SPEAKS_OF["number"][:4]:
            bound = schema.get(keyword)
            # Before 2019 the exclusive ones were switches beside the others.
            if bound is None or isinstance(bound, bool):
                continue
            if not isinstance(bound, (int, float)) or not math.isfinite(bound):
                raise self._wrong(at, f"{keyword} must be a number")
            match keyword:
                case "minimum":
                    low = max(low, math.ceil(bound))
                case "exclusiveMinimum":
                    low = max(low, math.floor(bound) + 1)
                case "maximum":
                    high = min(high, math.floor(bound))
                case "exclusiveMaximum":
                    high = min(high, math.ceil(bound) - 1)
        if low > high:
            raise self._wrong(at, "no integer lies between its bounds")
        bounds = {"minimum": low, "maximum": high}
        return {keyword: bound for keyword, bound in bounds.items() if abs(bound) <= LARGEST_INTEGER}

    # --- references and combinations ---------------------------------------------------------------

    def _reference(self, reference: object, at: str) -> Schema:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise self._wrong(at, "$ref must point into the same schema (#/...)")
        name = self._names.get(reference)
        if name is None:
            target = self._target(reference, at)
            base = re.sub(r"[^A-Za-z0-9_]", "", reference.rsplit("/", 1)[-1])[:40] or "root"
            name = base
            while name in self._names.values():
                name = f"{base}{len(self._names)}"
            if len(self._names) == DEFINITIONS:
                raise self._wrong(at, f"more than {DEFINITIONS} definitions")
            self._names[reference] = name
            self._definitions[name] = {}
            self._waiting.append((name, target, reference))
        return {"$ref": f"#/$defs/{name}"}

    def _target(self, reference: str, at: str) -> object:
        found = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isascii() and key.isdecimal() and int(key[:9]) < len(found):
                found = found[int(key[:9])]
            else:
                raise self._wrong(at, f"$ref points nowhere: {reference[:80]}")
        return found

    def _merged(self, schema: Schema, at: str, depth: int) -> Schema:
        """One schema in place of `allOf`, whose members' keywords are put together."""
        parts = schema["allOf"]
        if not isinstance(parts, list) or not parts:
            raise self._wrong(at, "allOf must be an array with a schema in it")
        merged = {keyword: value for keyword, value in schema.items() if keyword != "allOf"}
        for part in parts:
            for _ in range(DEPTH):
                if isinstance(part, dict) and "$ref" in part and isinstance(part["$ref"], str):
                    part = self._target(part["$ref"], at)  # noqa: PLW2901
            self._spend("nodes", 1, at)
            if not isinstance(part, dict) or "$ref" in part:
                raise self._wrong(at, "allOf must be an array of schemas")
            if "allOf" in part:
                if depth > DEPTH:
                    raise self._wrong(at, f"nested deeper than {DEPTH} levels")
                part = self._merged(part, at, depth + 1)  # noqa: PLW2901
            for keyword, value in part.items():
                self._add(merged, keyword, value, at)
        return merged

    def _add(self, merged: Schema, keyword: str, value: Any, at: str) -> None:
        known = merged.get(keyword)
        if known is None or known == value or keyword in NOTES:
            merged.setdefault(keyword, value)
        elif (
            keyword in ("properties", "$defs", "definitions")
            and isinstance(known, dict)
            and isinstance(value, dict)
        ):
            merged[keyword] = {**known, **value}
        elif keyword == "required" and isinstance(known, list) and isinstance(value, list):
            merged[keyword] = [*known, *value]
        elif keyword in CONSTRAINTS or keyword in ("anyOf", "oneOf"):
            self._cannot(at, "allOf", f"with two different values of '{keyword}'")

    def _says_only_more(self, schema: Schema, keyword: str) -> bool:
        """The alternatives only add demands to an object described beside them; they are left out then."""
        parts = schema[keyword]
        if "properties" not in schema or not isinstance(parts, list):
            return False
        only = all(
            isinstance(part, dict) and not part.keys() & {"type", "properties", "$ref", "enum", "const"}
            for part in parts
        )
        if only:
            self._cannot("$", keyword, "beside 'properties'")
        return only

    def _alone(self, schema: Schema, at: str, keyword: str) -> None:
        """What stands beside a reference or alternatives would be ignored."""
        others = sorted(CONSTRAINTS.intersection(schema) - {"type", *NEVER})
        if others:
            self._cannot(at, others[0], f"beside '{keyword}'")

    def _ways(self, schema: Schema, known: dict[str, int], depth: int) -> int:
        """In how many ways a value can begin; raises for a definition that begins with itself."""
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            if known.get(name) == 0:
                raise self._wrong("$", f"$ref refers to itself: {name}")
            if depth > DEPTH:
                raise self._wrong("$", f"more than {DEPTH} references in a row")
            if name not in known:
                known[name] = 0
                known[name] = self._ways(self._definitions[name], known, depth + 1)
            return known[name]
        ways = sum(self._ways(option, known, depth) for option in schema.get("anyOf", ())) or 1
        if ways > WAYS:
            raise self._wrong("$", f"more than {WAYS} alternatives for one value")
        return ways

    # --- what is said about it ---------------------------------------------------------------------

    def _spend(self, what: str, amount: int, at: str) -> None:
        left = getattr(self._budget, what) - amount
        if left < 0:
            raise self._wrong(at, f"too large: too many {what.replace('nodes', 'members')} in all")
        setattr(self._budget, what, left)

    def _cannot(self, at: str, keyword: str, where: str = "") -> None:
        """A keyword that is not enforced: an error only where the client insists."""
        if self._strict:
            said = f"'{keyword}' {where}".rstrip()
            raise self._wrong(at, f"{said} cannot be enforced here; leave it out, or set strict to false")

    def _wrong(self, at: str, what: str) -> InvalidField:
        message = f"Invalid schema for '{self._param}': in {at[:200]}: {what}."
        return InvalidField(message, param=self._param, code="invalid_value")


def _size(value: object) -> int:
    """About how many characters a fixed value takes; it came from JSON that was bounded in depth."""
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, dict):
        return sum(len(name) + _size(member) for name, member in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return 8
