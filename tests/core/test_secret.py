"""A secret is revealed on purpose or not at all."""

from __future__ import annotations

import copy
import json
import pickle
import traceback

import msgspec
import pytest

from headgate.core.secret import MaybeSecret, Secret
from headgate.core.settings import Settings, Upstream
from headgate.core.settings_routing import Model

VALUE = "sk-the-value-nobody-may-see"
WRITERS = [pickle.dumps, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins, json.dumps]
SECRET = Secret(VALUE, origin="env:KEY")


def test_it_shows_where_it_is_from() -> None:
    assert repr(SECRET) == str(SECRET) == f"{SECRET}" == "Secret(env:KEY)"
    assert repr(MaybeSecret(VALUE, origin="text")) == "MaybeSecret(text)"
    assert SECRET.reveal() == VALUE


def test_settings_do_not_show_it() -> None:
    upstream = Upstream(
        name="a",
        base_url="http://h",
        models=(Model(name="m"),),
        api_key=SECRET,
        headers={"x": MaybeSecret(VALUE, origin="text")},
    )
    settings = Settings(upstreams=(upstream,))
    assert VALUE not in repr(settings)
    assert "Secret(env:KEY)" in repr(settings)


@pytest.mark.parametrize(
    "write", [pickle.dumps, copy.deepcopy, msgspec.json.encode, msgspec.to_builtins, json.dumps]
)
def test_it_is_written_nowhere(write: object) -> None:
    assert callable(write)
    with pytest.raises(TypeError) as caught:
        write(SECRET)
    assert VALUE not in "".join(traceback.format_exception(caught.value))
    assert not hasattr(SECRET, "__dict__")


def test_a_reload_can_tell_whether_it_changed() -> None:
    assert Secret(VALUE, origin="env:KEY") == SECRET
    assert hash(Secret(VALUE, origin="env:KEY")) == hash(SECRET)
    assert Secret(VALUE + "x", origin="env:KEY") != SECRET
    assert Secret(VALUE, origin="env:OTHER") != SECRET
    assert SECRET != VALUE


@pytest.mark.parametrize("value", ["", "a\n", "a\r\nb: c", "a\0", "é", "\x7f"])
def test_what_no_header_can_carry_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="env:KEY") as caught:
        Secret(value, origin="env:KEY")
    assert not value or repr(value) not in str(caught.value)
