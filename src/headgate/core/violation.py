"""The sentences in which a bad field is refused: OpenAI's own words, param and code.

Each function makes one error and raises nothing. Must not know how the fault was found.
"""

from __future__ import annotations

from headgate.core.errors import BadRequest, InvalidField, TooLarge

# What a client sent is quoted back at most this far: enough to recognise it, too little to flood a log.
QUOTE_CHARACTERS = 64


def quote(text: str) -> str:
    """A client's own text, cut to a length fit for a message."""
    return text if len(text) <= QUOTE_CHARACTERS else text[: QUOTE_CHARACTERS - 3] + "..."


def not_json() -> BadRequest:
    """The body is not JSON, or not UTF-8."""
    return BadRequest(
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your "
        "HTTP library correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
    )


def too_deep() -> BadRequest:
    """The body is JSON, nested deeper than any parser on its way would follow."""
    return BadRequest("The JSON body of your request is nested too deeply.")


def too_many_values(bound: int) -> TooLarge:
    """The body holds more values than are unpacked for anyone."""
    return TooLarge(f"The JSON body of your request holds too many values: more than {bound}.")


def not_an_object(got: str) -> BadRequest:
    """The body is JSON, but no object; `got` is a kind with its article, such as `an array`."""
    return BadRequest(
        f"Invalid type for the request body: expected an object, but got {got} instead.", code="invalid_type"
    )


def wrong_type(param: str, expected: str, got: str) -> InvalidField:
    """A value of the wrong JSON type; both kinds come with their article."""
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return InvalidField(message, param=param, code="invalid_type")


def wrong_value(param: str, message: str | None = None) -> InvalidField:
    """A value of the right type that means nothing here; the message may say why."""
    return InvalidField(message or f"Invalid value for '{param}'.", param=param, code="invalid_value")


def missing(param: str) -> InvalidField:
    """A required field is not there."""
    return InvalidField(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def below_minimum(param: str, kind: str, bound: float, got: str) -> InvalidField:
    """A number under its range; `kind` is `integer` or `decimal`."""
    message = (
        f"Invalid '{param}': {kind} below minimum value. Expected a value >= {bound}, but got {got} instead."
    )
    return InvalidField(message, param=param, code=f"{kind}_below_min_value")


def above_maximum(param: str, kind: str, bound: float, got: str) -> InvalidField:
    """A number over its range; `kind` is `integer` or `decimal`."""
    message = (
        f"Invalid '{param}': {kind} above maximum value. Expected a value <= {bound}, but got {got} instead."
    )
    return InvalidField(message, param=param, code=f"{kind}_above_max_value")


def string_too_long(param: str, bound: int, length: int) -> InvalidField:
    """A string of more than `bound` characters."""
    message = (
        f"Invalid '{param}': string too long. Expected a string with maximum length {bound}, "
        f"but got a string with length {length} instead."
    )
    return InvalidField(message, param=param, code="string_above_max_length")


def empty_string(param: str, bound: int) -> InvalidField:
    """An empty string where at least `bound` characters are due."""
    message = (
        f"Invalid '{param}': empty string. Expected a string with minimum length {bound}, "
        "but got an empty string instead."
    )
    return InvalidField(message, param=param, code="empty_string")


def array_too_long(param: str, bound: int, length: int) -> InvalidField:
    """An array of more than `bound` elements."""
    message = (
        f"Invalid '{param}': array too long. Expected an array with maximum length {bound}, "
        f"but got an array with length {length} instead."
    )
    return InvalidField(message, param=param, code="array_above_max_length")


def empty_array(param: str, bound: int) -> InvalidField:
    """An empty array where at least `bound` elements are due."""
    message = (
        f"Invalid '{param}': empty array. Expected an array with minimum length {bound}, "
        "but got an empty array instead."
    )
    return InvalidField(message, param=param, code="empty_array")


def too_many_properties(param: str, bound: int, count: int) -> InvalidField:
    """An object of more than `bound` properties."""
    message = (
        f"Invalid '{param}': too many properties. Expected an object with at most {bound} properties, "
        f"but got an object with {count} properties instead."
    )
    return InvalidField(message, param=param, code="object_above_max_properties")


def property_name_too_long(param: str, name: str, bound: int) -> InvalidField:
    """A property of `param` whose name has more than `bound` characters."""
    message = (
        f"Invalid property name in '{param}': '{quote(name)}' is too long. Expected a string with maximum "
        f"length {bound}, but got a string with length {len(name)} instead."
    )
    return InvalidField(message, param=f"{param}.{quote(name)}", code="property_name_above_max_length")


def only_when_enabled(param: str, other: str) -> InvalidField:
    """`param` was given though the switch `other` is off."""
    return InvalidField(f"The '{param}' parameter is only allowed when '{other}' is enabled.", param=param)


def only_with(param: str, other: str) -> InvalidField:
    """`param` was given without `other`, on which it has something to say."""
    message = f"Invalid value for '{param}': '{param}' is only allowed when '{other}' are specified."
    return InvalidField(message, param=param)


def not_together(param: str, other: str) -> InvalidField:
    """Two parameters were given of which a request takes one."""
    message = f"Setting '{param}' and '{other}' at the same time is not supported."
    return InvalidField(message, param=param, code="invalid_parameter_combination")


def context_too_long(param: str, bound: int, tokens: int) -> InvalidField:
    """A text of more tokens than the model reads."""
    return InvalidField(
        f"This model's maximum context length is {bound} tokens, however you requested {tokens} tokens. "
        "Please reduce your prompt.",
        param=param,
        code="context_length_exceeded",
    )
