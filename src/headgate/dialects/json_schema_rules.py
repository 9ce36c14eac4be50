"""What of JSON Schema a grammar can enforce, and how much of it is compiled for one request.

Tables and numbers only; the numbers were measured with llama.cpp on two cores.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

DEPTH = 32
"""Levels of nesting: OpenAI takes 10; a page of nested forms needs half of this."""
NODES = 2_000
"""Schemas in a schema, of all tools together: OpenAI takes 5,000 properties. This many compile in 0.1 s."""
DEFINITIONS = 200
"""Schemas that are referred to: the compiler follows them by recursion; 4,000 in a row overran its stack."""
WAYS = 1_000
"""Ways in which one value can begin: alternatives of alternatives. 2**25 of them took it six seconds."""
OPTIONAL = 200
"""Properties of one object that may be missing: compiling takes their number squared, 0.1 s for 300."""
CHOICES = 1_000
"""Values in all enums: as at OpenAI. 2,000 hold up every other stream for 0.1 s."""
CHARACTERS = 100_000
"""Of all names and fixed values: OpenAI takes 120,000."""
REPEATS = 1_000
"""Largest bound on lengths and items: llama.cpp refuses to repeat a rule more than 2,000 times."""
LARGEST_INTEGER = 10**15
"""A bound beyond it binds nothing: a grammar lets integers have sixteen digits."""

FORMATS = frozenset(("date", "time", "date-time", "uuid"))
"""What a grammar holds a string to. Other formats are notes, as JSON Schema has it."""

NOTES = ("title", "description", "default", "examples")
TYPES = frozenset(("object", "array", "string", "integer", "number", "boolean", "null"))

# Which keywords speak of which type. One that is here and not handled below cannot be enforced.
SPEAKS_OF = {
    "object": (
        "properties", "required", "additionalProperties", "patternProperties", "propertyNames",
        "minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "dependencies",
    ),
    "array": (
        "items", "prefixItems", "minItems", "maxItems",
        "uniqueItems", "contains", "minContains", "maxContains",
    ),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}  # fmt: skip
NEVER = ("not", "if", "then", "else")
UNENFORCED = {
    "object": SPEAKS_OF["object"][3:],
    "array": SPEAKS_OF["array"][4:],
    "string": ("pattern",),
    "integer": ("multipleOf",),
    "number": SPEAKS_OF["number"],
}
CONSTRAINTS = frozenset(
    ("type", "enum", "const", *NEVER, *(word for words in SPEAKS_OF.values() for word in words))
)


class Budget:
    """What may still be spent on the schemas of one request."""

    __slots__ = ("characters", "choices", "nodes")

    def __init__(self) -> None:
        self.nodes = NODES
        self.choices = CHOICES
        self.characters = CHARACTERS
