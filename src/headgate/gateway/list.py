"""The models a key may use: GET /v1/models and /v1/models/{id}."""

from __future__ import annotations

import msgspec

from headgate.core.ports import Exchange
from headgate.endpoints import MODELS_LIST, MODELS_RETRIEVE
from headgate.gateway.authorize import admitted, authorize_model
from headgate.gateway.choose import Target
from headgate.gateway.pipeline import Gate
from headgate.gateway.relay import JSON
from headgate.gateway.route import plan_for


class ModelObject(msgspec.Struct, frozen=True):
    """One model, as OpenAI describes it; `id` is the name asked for, which may be an alias."""

    id: str
    created: int
    owned_by: str
    object: str = "model"


class ModelList(msgspec.Struct, frozen=True):
    """All of them."""

    data: list[ModelObject]
    object: str = "list"


def described(name: str, target: Target) -> ModelObject:
    """The object for a model under one of its names."""
    return ModelObject(name, target.created_s, target.owner)


async def list_models(gate: Gate, exchange: Exchange) -> None:
    """Answers GET /v1/models."""
    principal = admitted(exchange, gate.keys, MODELS_LIST)
    may_use = principal.access.may_use
    models = [described(name, target) for name, target in gate.models.targets.items() if may_use(name)]
    exchange.reply(200, JSON, msgspec.json.encode(ModelList(models)))


async def retrieve_model(gate: Gate, exchange: Exchange) -> None:
    """Answers GET /v1/models/{id}; raises ModelNotFound."""
    principal = admitted(exchange, gate.keys, MODELS_RETRIEVE)
    authorize_model(principal, exchange.parameter)
    target = plan_for(gate.models, exchange.parameter).targets[0]
    exchange.reply(200, JSON, msgspec.json.encode(described(exchange.parameter, target)))
