"""Whether a key may be used for this: by endpoint, address and model alone, never by a header or a URL.

Keys without restrictions are let through without a question.
"""

from __future__ import annotations

from headgate.core.access import EVERYTHING
from headgate.core.endpoint import Endpoint
from headgate.core.errors import Forbidden, ModelForbidden
from headgate.core.ports import Exchange, Keys, Principal
from headgate.gateway.authenticate import authenticate

_SHOWN_CHARACTERS = 100


def authorize(exchange: Exchange, principal: Principal, scope: str) -> None:
    """Lets a key call an endpoint of this scope from where it is; raises Forbidden."""
    access = principal.access
    if access is EVERYTHING:
        return
    if not access.may_call(scope):
        raise Forbidden("Your API key may not be used for this endpoint.")
    if access.networks is not None and not access.may_come_from(exchange.client):
        raise Forbidden("Your API key may not be used from this address.")


def authorize_model(principal: Principal, model: str) -> Principal:
    """The principal, if it may use a model by the name that the client wrote; raises ModelForbidden."""
    if principal.access is not EVERYTHING and not principal.access.may_use(model):
        shown = model if len(model) <= _SHOWN_CHARACTERS else model[:_SHOWN_CHARACTERS] + "…"
        raise ModelForbidden(f"Your API key may not use the model '{shown}'.")
    return principal


def admitted(exchange: Exchange, keys: Keys, endpoint: Endpoint) -> Principal:
    """Who asks, if they may ask this; raises Unauthorized or Forbidden."""
    principal = authenticate(exchange, keys, endpoint.key_header)
    if principal.access is not EVERYTHING:
        authorize(exchange, principal, endpoint.scope)
    return principal
