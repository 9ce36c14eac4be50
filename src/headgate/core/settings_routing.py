"""The settings of routing and health: where a model's requests go, and what happens when that goes wrong.

Records only, as in `core/settings.py`, which puts them together.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headgate.core.settings_kinds import MINUTE_MS, Milliseconds, ModelName, Name

Weight = Annotated[int, Meta(ge=1, le=1000)]
"""A share among equals; 1000 parts are finer than anybody can measure in traffic."""

Strategy = Literal["weighted", "least_busy", "fastest"]
Stickiness = Literal["off", "conversation"]


class Traits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is said of one place where a model is to be had."""

    priority: Annotated[int, Meta(ge=1, le=100)] = 1
    """Its tier: tier 2 is asked when nobody in tier 1 can answer."""
    weight: Weight = 1
    """Its share of the requests of its tier."""
    context_tokens: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None
    """The longest context there, question and answer. Longer requests go elsewhere; None: no bound known."""
    vision: bool | None = None
    """Whether it takes pictures. Here and below, nothing said means that it is tried."""
    tools: bool | None = None
    """Whether it calls functions."""
    json_schema: bool | None = None
    """Whether it answers to a JSON Schema."""
    draws: bool | None = None
    """Whether it answers with pictures."""
    prefill: bool | None = None
    """Whether it goes on with an answer that another one began. None: as its dialect and quirks say."""
    max_in_flight: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    """Most requests for this model at once, beside the upstream's own bound."""
    queue: Annotated[int, Meta(ge=0, le=100_000)] = 0
    """Requests that may wait for one of these places, for as long as in the upstream's own queue."""


class Model(Traits, frozen=True, kw_only=True):
    """One entry of an upstream's `models`; a plain string is short for a table with only a `name`."""

    name: ModelName
    """What clients write under `model`. A `*` in it stands for anything: `gpt-*`, `*`."""
    upstream_name: ModelName | None = None
    """What the upstream calls it; the same name where nothing is said. With a `*` in both, what the first one
    stood for is put in."""

    @property
    def sent_as(self) -> str:
        """The name to send upstream."""
        return self.upstream_name or self.name


class ModelTarget(Traits, frozen=True, kw_only=True):
    """One entry of a `[[model]]`'s `targets`."""

    upstream: Name
    """The name of an `[[upstream]]` or an `[[engine]]`."""
    model: ModelName | None = None
    """What the model is called there; the name of the `[[model]]`, or the engine's, where nothing is said."""


def target_of(model: Model, upstream: str) -> ModelTarget:
    """An upstream's entry of `models` as a target."""
    traits = {name: getattr(model, name) for name in Traits.__struct_fields__}
    return ModelTarget(upstream=upstream, model=model.sent_as, **traits)


class NamedModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[model]]`: a name with targets of its own, or with other rules than `[routing]` has."""

    name: ModelName
    """What clients write under `model`."""
    targets: tuple[ModelTarget, ...] = ()
    """Where it is to be had. None: everywhere an upstream's `models` or an engine has this name."""
    strategy: Strategy | None = None
    """Here and below: as in `[routing]`, whose value counts where nothing is said."""
    sticky: Stickiness | None = None
    attempts: Annotated[int, Meta(ge=1, le=20)] | None = None
    hedge_after_ms: Milliseconds | None = None
    first_token_timeout_ms: Milliseconds | None = None
    token_timeout_ms: Milliseconds | None = None
    total_timeout_ms: Milliseconds | None = None
    unbroken: bool | None = None

    def rules(self, routing: Routing) -> Routing:
        """The rules for this model."""
        own = {
            name: getattr(self, name) for name in self.__struct_fields__ if name not in ("name", "targets")
        }
        return msgspec.structs.replace(
            routing, **{name: value for name, value in own.items() if value is not None}
        )


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[routing]`: how a target is chosen, and what happens when one fails; a `[[model]]` may differ."""

    strategy: Strategy = "weighted"
    """Within a tier: by weight, by fewest requests in flight, or by the time to the first byte."""
    sticky: Stickiness = "off"
    """`conversation` keeps a conversation's requests at one target, whose prompt cache then knows it."""
    attempts: Annotated[int, Meta(ge=1, le=20)] = 4
    """Most tries for one request: two targets, each of them twice."""
    retry_within_ms: Milliseconds = 60_000
    """After this long no further try is begun: clients wait, but not for ever."""
    backoff_ms: Annotated[int, Meta(ge=1, le=MINUTE_MS)] = 250
    """The wait before the same target is tried again; it doubles, and half of it is chance."""
    backoff_max_ms: Annotated[int, Meta(ge=1, le=10 * MINUTE_MS)] = 2_000
    """The longest such wait, and the longest rest that is waited for: for more, clients have their own."""
    retry_budget_percent: Annotated[int, Meta(ge=0, le=1000)] = 20
    """Further tries at the same target, and hedges, in percent of a model's requests: what is slow must not
    be made slower."""
    retry_burst: Annotated[int, Meta(ge=0, le=100_000)] = 10
    """How many of them may be saved up, so that a quiet model can retry at all."""
    hedge_after_ms: Milliseconds | None = None
    """When the first token is later than this, a second target is asked too; the slower one is given up."""
    first_token_timeout_ms: Milliseconds | None = None
    """From the request to a stream's first content; then the next target is tried. None: the upstream's own
    `first_byte_timeout_ms` alone."""
    token_timeout_ms: Milliseconds | None = None
    """Between two events of a stream, whatever else the upstream sends to keep it open. None: the upstream's
    own `idle_timeout_ms` alone, which any byte satisfies."""
    total_timeout_ms: Milliseconds | None = None
    """From the request to the reply's last byte, all tries together. None: as long as something comes."""
    unbroken: bool = False
    """When an upstream dies in mid-answer, another one goes on with what was said. Off: it costs memory for
    each stream, and the words may come from two models."""
    tell_upstream: bool = False
    """Replies say in `x-headgate-upstream` who answered. Off: that is the operator's business."""
    tell_attempts: bool = False
    """Replies say in `x-headgate-attempts` how many tries it took."""


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[health]`: when a target gets no requests, and when it gets them again."""

    failures: Annotated[int, Meta(ge=1, le=10_000)] = 5
    """So many failures one after another open the breaker: by chance that is rare, by fault soon there."""
    error_percent: Annotated[int, Meta(ge=1, le=100)] = 50
    """So does this share of failures within the window ..."""
    error_requests: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    """... of at least so many requests, which no handful of bad luck reaches."""
    window_ms: Annotated[int, Meta(ge=1000, le=60 * MINUTE_MS)] = 60_000
    """How far back error rate and latency look."""
    open_ms: Annotated[int, Meta(ge=1, le=60 * MINUTE_MS)] = 1_000
    """How long a breaker is open before one request may probe the target; a failed probe doubles it."""
    open_max_ms: Annotated[int, Meta(ge=1, le=60 * MINUTE_MS)] = 30_000
    """The longest of these times: about what a restart takes."""
    rest_ms: Annotated[int, Meta(ge=1, le=60 * MINUTE_MS)] = 1_000
    """The rest after a 429 that does not say how long; longer ones are obeyed."""
    rest_max_ms: Milliseconds = 15 * MINUTE_MS
    """The longest rest that is obeyed: a limit of a day would outlast the operator who raised it."""
    key_rest_ms: Milliseconds = 5 * MINUTE_MS
    """The rest of one of several `api_keys` after it was refused (401, 403): long enough to renew it."""
