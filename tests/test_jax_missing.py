"""JAX where it is not installed: an error with the way out, wherever it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import indexlang
from indexlang.backends import engines
from indexlang.errors import MeaningError

ASKED: dict[str, Callable[[Any], Any]] = {
    "compile": lambda f: indexlang.compile(str(f), backend="jax"),
    "to_jax": lambda f: f.to_jax(),
    "emit": lambda f: f.emit("jax", x=3),
}


@pytest.mark.parametrize("how", ASKED)
def test_the_way_out_is_to_install_it(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    f = indexlang.compile("y[i] = 2*x[i]", backend="numpy")
    with pytest.raises(MeaningError, match=r"(?s)the backend jax needs jax.*pip install 'indexlang\[jax\]'"):
        ASKED[how](f)
