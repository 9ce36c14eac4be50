"""What must hold between models, their targets and the upstreams they name; names with a `*` in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from headgate.core.settings import Settings
from headgate.core.settings_routing import Traits
from headgate.core.toml_lines import Path


class Wrong(Exception):
    """One thing is wrong at `path`; becomes a SettingsError as soon as its line is known."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


WILDCARD = "*"
"""Stands for any characters, none and slashes included."""


def fits(pattern: str, name: str) -> bool:
    """Whether a name with a `*` in it stands for this one; names without one stand for nothing else."""
    before, star, after = pattern.partition(WILDCARD)
    return (
        bool(star)
        and len(name) >= len(before) + len(after)
        and name.startswith(before)
        and name.endswith(after)
    )


def filled_in(pattern: str, name: str, other: str) -> str:
    """`other` with its `*` replaced by what the one in `pattern` stands for in `name`."""
    before, _, after = pattern.partition(WILDCARD)
    return other.replace(WILDCARD, name[len(before) : len(name) - len(after)])


def guess(name: str, known: Iterable[str]) -> str:
    """What was probably meant, for the end of a message."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def check_models(settings: Settings) -> Mapping[str, str]:
    """Every name and who serves it, in words; raises Wrong for one that cannot be served as it is written."""
    served: dict[str, str] = {}
    for path, name, owner in _offers(settings):
        served.setdefault(name, owner)
        if name.count(WILDCARD) > 1:
            raise Wrong(path, "one `*` is enough: it stands for anything")
    for index, upstream in enumerate(settings.upstreams):
        names: set[str] = set()
        for place, model in enumerate(upstream.models):
            path = ("upstream", index, "models", place)
            if model.name in names:
                raise Wrong((*path, "name"), f'the model "{model.name}" is in this list already')
            names.add(model.name)
            _check_queue(model, path)
            if model.sent_as.count(WILDCARD) > model.name.count(WILDCARD):
                raise Wrong((*path, "upstream_name"), "a `*` here takes one in `name` to be filled in from")
        if upstream.discover and not any(WILDCARD in name for name in names):
            path = ("upstream", index, "discover")
            raise Wrong(path, 'nothing to look for: `models` needs a name with a `*` in it, such as "*"')
    _check_named(settings, served)
    return served


def _offers(settings: Settings) -> Iterator[tuple[Path, str, str]]:
    for index, upstream in enumerate(settings.upstreams):
        for place, model in enumerate(upstream.models):
            yield ("upstream", index, "models", place, "name"), model.name, f'upstream "{upstream.name}"'
    for index, engine in enumerate(settings.engines):
        yield ("engine", index, "name"), engine.name, f'engine "{engine.name}"'


def _check_queue(traits: Traits, path: Path) -> None:
    if traits.queue and traits.max_in_flight is None:
        raise Wrong((*path, "queue"), "nobody waits in it without a `max_in_flight`")


def _check_named(settings: Settings, served: dict[str, str]) -> None:
    """Adds the names of `[[model]]` to those that are served."""
    engines = [engine.name for engine in settings.engines]
    places = [*(upstream.name for upstream in settings.upstreams), *engines]
    names: set[str] = set()
    for index, named in enumerate(settings.named_models):
        path: Path = ("model", index)
        if named.name in names:
            raise Wrong((*path, "name"), f'a [[model]] is called "{named.name}" already')
        names.add(named.name)
        if not named.targets and named.name not in served:
            raise Wrong(
                path,
                f'`targets` is missing: no upstream has a model "{named.name}"{guess(named.name, served)}',
            )
        if named.targets and WILDCARD in named.name:
            raise Wrong((*path, "name"), "a name with a `*` in it is for an upstream's `models`")
        for place, target in enumerate(named.targets):
            at = (*path, "targets", place)
            if target.upstream not in places:
                hint = guess(target.upstream, places)
                raise Wrong((*at, "upstream"), f'no upstream is called "{target.upstream}"{hint}')
            _check_queue(target, at)
            if target.model is not None and target.upstream in engines and target.model != target.upstream:
                raise Wrong((*at, "model"), "an engine has one model, which has its name")
        served[named.name] = f'[[model]] "{named.name}"'
