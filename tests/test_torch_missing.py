"""torch where it is not installed, and where nobody asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

import indexlang
from indexlang.backends import engines
from indexlang.errors import MeaningError


def test_the_way_out_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    f = indexlang.compile("y[i] = 2*x[i]", backend="numpy")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(MeaningError, match=r"(?s)f.to_torch\(\) needs torch.*pip install 'indexlang\[torch\]'"):
        f.to_torch()


def test_the_core_does_not_import_torch() -> None:
    code = "import sys, indexlang; indexlang.compile('y[i] = x[i]')(x=[1.0]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_way_out_where_a_module_of_torch_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    monkeypatch.delitem(vars(indexlang), "torch", raising=False)
    with pytest.raises(MeaningError, match=r"(?s)indexlang.torch needs torch.*pip install 'indexlang\[torch\]'"):
        indexlang.torch.Layer("y[i] = x[i]*w[i]", parameters={"w": (3,)})
