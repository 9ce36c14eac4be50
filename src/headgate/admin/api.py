"""The operator's API as an ASGI application: /admin/v1/..., its OpenAPI document, and GET /v1/usage.

Every error has the shape of the gate's own. Must not know the data plane.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get
from litestar.di import NamedDependency, Provide
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from headgate import __version__
from headgate.admin.caller import Caller, caller_of
from headgate.admin.deferred import BODY_LIMIT_BYTES, PATH
from headgate.admin.keys import key_routes
from headgate.admin.money import money_routes
from headgate.admin.office import Office
from headgate.admin.teams import team_routes
from headgate.admin.usage import own_usage_route, usage_routes
from headgate.core.errors import (
    ApiError,
    BadRequest,
    DatabaseAway,
    InternalError,
    InvalidField,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RecordMissing,
    RecordRefused,
)

log = logging.getLogger(__name__)

AWAY_RETRY_MS = 1000

_UNKNOWN = re.compile(r"unknown field `([\w.-]{1,64})`")

Anything = Request[Any, Any, Any]


def make_api(office: Office, shown: Callable[[], Mapping[str, Any]]) -> Litestar:
    """The application; `shown` gives the configuration's models and upstreams, which are read-only here."""

    async def provide_caller(request: Anything) -> Caller:
        return caller_of(request.headers.get("authorization", "").encode("latin-1", "replace"), office.keys)

    @get("/models", summary="Models of the configuration, and where they are", tags=["configuration"])
    async def show_models(caller: NamedDependency[Caller]) -> list[dict[str, Any]]:
        caller.may_see()
        return list(shown()["models"])

    @get("/upstreams", summary="Upstreams and engines of the configuration", tags=["configuration"])
    async def show_upstreams(caller: NamedDependency[Caller]) -> list[dict[str, Any]]:
        caller.may_see()
        return list(shown()["upstreams"])

    @get("/me", summary="Who the key is, and what it may do here", tags=["keys"])
    async def show_me(caller: NamedDependency[Caller]) -> Caller:
        return caller

    handlers = [key_routes(office), team_routes(office), *money_routes(office), *usage_routes(office)]
    return Litestar(
        route_handlers=[
            Router(PATH, route_handlers=[*handlers, show_models, show_upstreams, show_me]),
            own_usage_route(office),
        ],
        dependencies={"caller": Provide(provide_caller)},
        exception_handlers={Exception: _told},
        openapi_config=OpenAPIConfig(
            title="Headgate: the operator's API",
            version=__version__,
            path=f"{PATH}/schema",
            # The pages that come along load their scripts from a network that need not be there.
            render_plugins=[JsonRenderPlugin()],
            components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"key": []}],
        ),
        request_max_body_size=BODY_LIMIT_BYTES,
        logging_config=None,
    )


def _told(request: Anything, error: Exception) -> Response[Any]:
    """Any error in the shape of the gate's own."""
    mapped = _mapped(error)
    if isinstance(mapped, InternalError):
        log.error("the operator's API failed", exc_info=error)
    headers = {name.decode(): value.decode() for name, value in mapped.headers()}
    return Response(
        msgspec.Raw(mapped.body()), status_code=mapped.status, headers=headers, media_type="application/json"
    )


def _mapped(error: Exception) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RecordMissing):
        return NotFound(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    if isinstance(error, RecordRefused):
        field, colon, _ = str(error).partition(":")
        known = bool(colon) and field.isidentifier()
        return InvalidField(str(error), param=field if known else None, code="invalid_value")
    if isinstance(error, DatabaseAway):
        return Overloaded("The database cannot be used now.", retry_after_ms=AWAY_RETRY_MS)
    if isinstance(error, HTTPException):
        return _of_framework(error)
    return InternalError("The server had an error. It is logged.")


def _of_framework(error: HTTPException) -> ApiError:
    if error.status_code == 404:
        return NotFound("There is no such place in the operator's API.", code="unknown_url")
    if error.status_code == 405:
        return MethodNotAllowed("This cannot be done here with this method.")
    if isinstance(error, ValidationException) and isinstance(error.extra, list) and error.extra:
        first = error.extra[0]
        if isinstance(first, dict):
            unknown = _UNKNOWN.search(str(first.get("message", "")))
            param = unknown[1] if unknown else str(first.get("key") or "") or None
            return InvalidField(
                f"Invalid value: {first.get('message', 'not what was expected')}.",
                param=param,
                code="invalid_value",
            )
    if 400 <= error.status_code < 500:
        return BadRequest(str(error.detail))
    return InternalError("The server had an error. It is logged.")
