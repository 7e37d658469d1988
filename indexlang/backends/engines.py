"""The table of backends: what each is called, which sizes it plans for, what compiles for it, and what it needs.

In: a backend's name. Out: its row. The one rule: a row is all that the rest of the package knows of a backend.
"""

from __future__ import annotations

import os
import timeit
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..errors import MeaningError, Problem, shown
from ..plan.limits import NATIVE, NUMPY, XLA, Limits
from ..plan.plan import Plan
from ..program.ir import Program
from .jax.emitting import emitted
from .jax.program import Lowered, lowered
from .numpy.emitting import module_of
from .numpy.load import Compiled, compile_program
from .updates import Update


@dataclass(frozen=True)
class Row:
    """A backend. `needs` are modules that must be installed, by the extra of that name.

    `emits` makes a module of a Plan, the text of its program and our version; `target` is what that is called, and
    `pulls` says whether it does so of both runs. `nests` are the loop nests that it computes, as text. `updates` makes
    one call of what is to be changed in place, if it can.
    """

    limits: Limits
    compiles: Callable[..., Compiled]
    emits: Callable[[Any, str, str], str]
    target: str
    pulls: bool = False
    nests: Callable[[Plan], str] = lambda plan: ""
    updates: Callable[[Sequence[Update]], Callable[..., Any] | None] | None = None
    needs: tuple[str, ...] = ()
    traces: bool = False  # whether it goes through the steps of blocks by itself
    unable: Callable[[], str] = str  # why it cannot run here, although that is installed

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(name for name in self.needs if find_spec(name) is None)

    @property
    def there(self) -> bool:
        """Whether it can run here."""
        return not self.missing and not self.unable()


def _native(*args: Any, **how: Any) -> Compiled:
    from .native.load import compile_native  # it imports llvmlite

    return compile_native(*args, **how)


def _unable() -> str:
    from .native import engine

    return "" if engine.available() else "llvmlite is too old, or this machine does not let it make code"


def _emitted(plan: Plan, program: str, version: str) -> str:
    from .native.load import emitted

    return emitted(plan, program, version)


def _nests(plan: Plan) -> str:
    from .native.load import nests

    return nests(plan)


def _jax(
    program: Program,
    sizes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    complex_step: bool = False,
    exact: Collection[str] = (),
    limits: Limits = XLA,
) -> Compiled:
    return traced(lowered(program, sizes, dtypes, exact=exact))


def traced(found: Lowered) -> Compiled:
    """A lowered program on NumPy arrays, by XLA."""
    from .jax.load import compiled  # it imports jax

    return compiled(found)


def _updates(several: Sequence[Update]) -> Callable[..., Any] | None:
    from .native.load import updates

    return updates(several)


def peaks(dtype: str) -> tuple[float, float]:
    """Operations on floats of this type, and bytes read and written, that the machine does in a second at most."""
    if BACKENDS["native"].there:
        from .native.load import peaks as native

        return native(dtype)
    a, out = np.ones((768, 768), dtype), np.empty((768, 768), dtype)
    data, copy = np.ones(1 << 24, np.float32), np.ones(1 << 24, np.float32)
    times = [
        min(timeit.repeat(call, number=1, repeat=9))
        for call in (
            lambda: np.matmul(a, a, out=out),
            lambda: np.copyto(copy, data),
        )
    ]
    return 2 * 768**3 / times[0], 2 * data.nbytes / times[1]


def usual() -> str:
    """The backend that "auto" stands for: that of INDEXLANG_BACKEND, else native code where it can be made and run,
    else NumPy. Errors: as `present`, for what INDEXLANG_BACKEND names.
    """
    named = os.environ.get("INDEXLANG_BACKEND", "").strip()
    if named in ("", "auto"):
        return "native" if BACKENDS["native"].there else "numpy"
    if named not in BACKENDS:
        rule, values = f"INDEXLANG_BACKEND is one of {', '.join(BACKENDS)}", (f"INDEXLANG_BACKEND={shown(named)}",)
        raise MeaningError(Problem("backend", rule, values=values, way_out="unset it, and what is there is taken"))
    return present(named, "or unset INDEXLANG_BACKEND")


def present(name: str, otherwise: str = "or leave backend=... out, and NumPy is taken") -> str:
    """The backend of this name. Errors: `MeaningError` where what it needs is not there."""
    missing = BACKENDS[name].missing
    if missing:
        way = f"install it: python -m pip install 'indexlang[{name}]'; {otherwise}"
        raise MeaningError(Problem("backend", f"the backend {name} needs {', '.join(missing)}", way_out=way))
    unable = BACKENDS[name].unable()
    if unable:
        way = f"update it: python -m pip install --upgrade 'indexlang[{name}]'; {otherwise}"
        raise MeaningError(Problem("backend", f"the backend {name} cannot run: {unable}", way_out=way))
    return name


def needs(module: str, what: str, otherwise: str) -> None:
    """Look for what an extra of this name installs. Errors: `MeaningError` where it is not there."""
    if find_spec(module) is None:
        way = f"install it: python -m pip install 'indexlang[{module}]'; {otherwise}"
        raise MeaningError(Problem("backend", f"{what} needs {module}", way_out=way))


BACKENDS: Mapping[str, Row] = {
    "numpy": Row(NUMPY, compile_program, module_of, "numpy", pulls=True),
    "native": Row(
        NATIVE, _native, _emitted, "llvm", nests=_nests, updates=_updates, needs=("llvmlite",), unable=_unable
    ),
    "jax": Row(XLA, _jax, emitted, "jax", needs=("jax",), traces=True),
}
TARGETS: Mapping[str, str] = {row.target: name for name, row in BACKENDS.items()}  # the backends by what they emit
