"""Native Functions and what they are called with: layouts, types, threads, forks, memory that is used again."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from random_programs.limits import limits_of
from random_programs.sample import LAYOUTS, laid

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang import IndexLangError, ShapeError, threads
from indexlang.backends.native import runner
from indexlang.calls.function import Function

Array = NDArray[Any]
RNG = np.random.default_rng(0)
PRODUCT = "y[i,j] += A[i,k] * B[k,j]\n"


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plans and nests are looked through, and whatever can be shared is, by three threads."""
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    monkeypatch.setattr(runner, "TOGETHER", 0)
    monkeypatch.setattr(runner, "WOKEN", 0)
    threads.set_num_threads(3)
    yield
    threads.set_num_threads(None)


def outcome(text: str, backend: Any, arrays: dict[str, Any]) -> Any:
    """The results by name, or what is said."""
    try:
        with np.errstate(all="ignore"):
            found = indexlang.compile(text, backend=backend)(**arrays)
    except IndexLangError as error:
        return type(error), str(error)
    return found if isinstance(found, dict) else {"": np.asarray(found)}


def assert_as_numpy(text: str, near: float = 1e-5, **arrays: Any) -> None:
    """The same as NumPy's backend gives, errors too."""
    found, right = outcome(text, "native", arrays), outcome(text, "numpy", arrays)
    if isinstance(right, tuple):
        assert found == right
        return
    for name, value in right.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        np.testing.assert_allclose(found[name], value, rtol=near, atol=near, err_msg=name)


# -- what is given -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_may_lie_in_any_way(layout: str, dtype: str) -> None:
    a, b = RNG.standard_normal((19, 33)).astype(dtype), RNG.standard_normal((33, 17)).astype(dtype)
    given = laid(a, layout), laid(b, layout)
    before = [x.tobytes() for x in given]
    assert_as_numpy(PRODUCT, 1e-4, A=given[0], B=given[1])
    assert_as_numpy("y[i,j] = A[i,j] + 2 * B[j,i]\n", A=given[0], B=given[0].T)
    assert [x.tobytes() for x in given] == before


TYPES = (
    *("float16", "float32", "float64", "longdouble", "complex64", "complex128", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@pytest.mark.parametrize("dtype", TYPES)
def test_arrays_may_be_of_any_type(dtype: str) -> None:
    a, b = RNG.integers(-9, 9, (7, 5)).astype(dtype), RNG.integers(-9, 9, (5, 6)).astype(dtype)
    near = 1e-2 if dtype == "float16" else 1e-5
    text = (
        "y[i,j] += A[i,k] * B[k,j]\nz[i,j] += A[i,k] * C[k,j]\nm[i] max= A[i,k]\n"
        "u[i,k] = 2 * A[i,k] + max(A[i,k], 1)\nv[i,k] = exp(A[i,k])\n"
    )
    assert_as_numpy(text, near, A=a, B=b, C=b.real.astype("float32"))


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0), (1, 1, 1), (1, 70, 1)])
def test_axes_may_be_empty_or_of_one_element(shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape)
    assert_as_numpy(PRODUCT, A=np.ones(shape[:2]), B=np.ones(shape[1:]))
    assert_as_numpy("t[a,b] max= x[a,b,c]\ne[a,b,c] = exp(x[a,b,c] - t[a,b])\ns[a,b] += e[a,b,c]\n", x=x)
    assert_as_numpy("t[a,b] = argmax[c](x[a,b,c])\n", x=x)
    if shape[2]:
        assert_as_numpy("t[a,b] = logsumexp[c](x[a,b,c])\n", x=x)
    assert_as_numpy("t += x[a,b,c]\n", x=x)


@pytest.mark.parametrize("n", [1, 3, 17])
def test_what_a_mask_refuses_is_not_touched(n: int) -> None:
    x = RNG.standard_normal((n, 40, 33))
    w, lower = RNG.standard_normal((33, 17)), np.where(np.tril(np.ones((33, 33)), -1) > 0, np.nan, 1.0)
    x[:, 20:] = np.nan
    assert_as_numpy("y[b,i,j] += x[b,i,k] * w[k,j] where i < 20\n", x=x, w=w)
    x = RNG.standard_normal((n, 40, 33))
    assert_as_numpy("y[b,i,j] += x[b,i,k] * w[k,j] where k <= j\n", x=x, w=lower)
    x[:, :, 25:] = np.inf
    assert_as_numpy("y[b,i,j] += x[b,i,k] * w[k,j] where k < 25\n", x=x, w=w)
    assert_as_numpy("y[b,i] += x[b,i,k] where m[b,i,k] > 0\n", x=x, m=np.isfinite(x) * 1.0)
    everywhere = np.full((3, 33, 16), np.inf)
    assert_as_numpy("y[b,i,o] += W[d,c,o] * x[b,pad(i+d,1),c]\n", x=x[:, :20] * 0 + 1, W=everywhere)


def test_what_is_no_number_goes_on() -> None:
    x = RNG.standard_normal((5, 19))
    x[1, 3], x[2, 8], x[4, 0] = np.nan, np.inf, -np.inf
    for text in ("m[i] max= x[i,j]\n", "m[i] min= x[i,j]\n", "m[i] = argmax[j](x[i,j])\n", "m[i] += x[i,j]\n"):
        assert_as_numpy(text, x=x)
    assert_as_numpy("m[i] = logsumexp[j](x[i,j])\nr[i,j] = relu(x[i,j])\nc[i,j] = max(x[i,j], 0.5)\n", x=x)


@pytest.mark.parametrize(
    "text",
    ["y[i] += x[i,j]\n", "y[j] += x[i,j]\n", "y += x[i,j]\n", "y[j,i] = x[i,j]\n", "y[i,j] = sin(x[i,j])\n"],
)
def test_a_million_elements(text: str) -> None:
    x = RNG.standard_normal((1000, 1003))
    assert_as_numpy(text, 1e-9, x=x)
    assert_as_numpy("p = argmax[n](x[n])\n", x=x.ravel())


@pytest.mark.parametrize(
    ("text", "arrays"),
    [
        (PRODUCT, {"A": np.ones((2, 3)), "B": np.ones((4, 5))}),
        (PRODUCT, {"A": np.ones((2, 3)), "B": np.ones(4)}),
        (PRODUCT, {"A": np.ones((2, 3))}),
        (PRODUCT, {"A": np.array([["a"]]), "B": np.ones((1, 1))}),
        (PRODUCT, {"A": np.array([[None]]), "B": np.ones((1, 1))}),
        ("y[i] = x[p[i]]\n", {"x": np.ones(3), "p": np.array([0, 3])}),
        ("y[i] = x[p[i]]\n", {"x": np.ones(3), "p": np.array([0, -1])}),
    ],
)
def test_errors_are_the_same(text: str, arrays: dict[str, Any]) -> None:
    assert isinstance(outcome(text, "native", arrays), tuple)
    assert_as_numpy(text, **arrays)


def test_integers_are_divided_as_numpy_does() -> None:
    p, q = np.array([-7, 7, 3, -2, 5]), np.array([2, -2, 0, 3, -5])
    assert_as_numpy("d[i] = p[i] // q[i]\nm[i] = p[i] % q[i]\n", p=p, q=q)


def test_results_go_where_they_are_wanted() -> None:
    a, b = RNG.standard_normal((9, 20)), RNG.standard_normal((20, 13))
    f = indexlang.compile(PRODUCT, backend="native")
    for out in (np.empty((9, 13)), np.empty((13, 9)).T, np.empty((18, 26))[::2, ::2]):
        assert f(A=a, B=b, out=out) is out
        np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)
    with pytest.raises(ShapeError):
        f(A=a, B=b, out=np.empty((9, 12)))


# -- who calls ---------------------------------------------------------------------------------------


def test_calls_from_several_threads_meet_nowhere() -> None:
    text = "h[i,j] += A[i,k] * B[k,j]\nt[i] max= h[i,j]\ne[i,j] = exp(h[i,j] - t[i])\ns[i] += e[i,j]\n"
    text += "y[i,j] = e[i,j] / s[i]\n"
    f, right = indexlang.compile(text, backend="native", outputs="y"), indexlang.compile(text, outputs="y")
    given = [(RNG.standard_normal((37, 20)), RNG.standard_normal((20, 41))) for _ in range(4)]
    wanted = [right(A=a, B=b) for a, b in given]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(50):
            found = f(A=given[k][0], B=given[k][1])
            if not np.allclose(found, wanted[k], rtol=1e-10):
                wrong.append(k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


CHILD = """
import os, numpy as np, indexlang
from indexlang import threads
from indexlang.backends.native import runner
runner.TOGETHER = runner.WOKEN = 0
threads.set_num_threads(3)
f = indexlang.compile("y[i,j] += A[i,k] * B[k,j]", backend="native")
g = indexlang.compile("y[i,j] = tanh(A[i,j])", backend="native")
a = np.random.default_rng(0).standard_normal((64, 64))
right = f(A=a, B=a)
child = os.fork()
if child == 0:
    good = np.array_equal(f(A=a, B=a), right) and np.allclose(g(A=a), np.tanh(a))
    os._exit(0 if good else 3)
status = os.waitpid(child, 0)[1]
assert np.array_equal(f(A=a, B=a), right)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_a_forked_child_computes() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", CHILD], timeout=60, check=False)
    assert done.returncode == 0


# -- memory ------------------------------------------------------------------------------------------


def test_what_one_call_reads_and_writes_shares_no_memory() -> None:
    """y is read for the last time where h is made; z, which the same call makes, must not lie where y does."""
    text = "y[j,i] += A[i,k] * B[k,j]\ng[n,j] = B[q[n],j]\nh[i,j] = y[j,i] + g[i,j]\nz[i,j] = tanh(h[i,j])\n"
    text += "u[i,j] = z[i,j] * 2\nv[n,j] = h[q[n],j] * z[q[n],j]\n"
    a, b, q = RNG.standard_normal((9, 11)), RNG.standard_normal((11, 13)), np.arange(9)[::-1].copy()
    program = indexlang.compile(text, outputs="v").program
    h = a @ b + b[q]
    found = Function(program, limits=limits_of("native tiny"))(A=a, B=b, q=q)
    np.testing.assert_allclose(found, (h * np.tanh(h))[q], rtol=1e-12)


# -- programs that failed ----------------------------------------------------------------------------


def test_a_register_is_spread_to_several_widths() -> None:
    text = "m[k,q] = (o[k,j,q] * (b[q,k,j] + sin(q)) * E[k]) * u[k] where q < 4\n"
    arrays = {"o": (4, 17, 4), "b": (4, 4, 17), "E": (4,), "u": (4,)}
    given = {n: RNG.standard_normal(s) for n, s in arrays.items()}
    results = []
    for backend in ("numpy", "native"):
        y, pullback = indexlang.compile(text, backend=backend).vjp(**given)  # type: ignore[arg-type]
        results.append({"y": y, **pullback(np.cos(np.arange(16.0).reshape(4, 4)))})
    for name, value in results[0].items():
        np.testing.assert_allclose(results[1][name], value, rtol=1e-10, atol=1e-10, err_msg=name)


def test_the_groups_of_a_tensor_have_its_type() -> None:
    y = RNG.standard_normal((4, 5))
    program = indexlang.compile("x[m,i,r] = y[m,r] * y[i,r]\n").program
    found = Function(program, limits=limits_of("native mixed:131"))(y=y)
    np.testing.assert_allclose(found, y[:, None] * y[None], rtol=1e-12)


@pytest.mark.parametrize("sizes", [(20, 30, 17), (3, 2, 4)])
def test_what_follows_a_scaled_product_sees_it_scaled(sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    a, b = RNG.standard_normal((m, k)), RNG.standard_normal((k, n))
    assert_as_numpy("y[i,j] += -A[i,k] * B[k,j]\nz[i,j] = y[i,j] + 1\n", 1e-10, A=a, B=b)
    assert_as_numpy(
        "y[i,j] += 0.5 * A[i,k] * B[k,j]\nz[i,j] = tanh(y[i,j])\nu[i,j] = y[i,j] * z[i,j]\n", 1e-10, A=a, B=b
    )


def test_a_nest_that_may_leave_its_arrays_is_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from indexlang.backends.native import program

    monkeypatch.setattr(program, "faults", lambda nest: ["it is wrong"])
    with pytest.raises(AssertionError, match="it is wrong\nnest "):
        indexlang.compile(PRODUCT, backend="native")(A=np.ones((2, 3)), B=np.ones((3, 4)))
    monkeypatch.setenv("INDEXLANG_VERIFY", "0")
    indexlang.compile(PRODUCT, backend="native")(A=np.ones((2, 3)), B=np.ones((3, 4)))


# -- what passes from nest to nest ----------------------------------------------------------------------------

PASSED = "h[i,j] = A[i,k] * B[k,j]\ny[i,l] = C[l,j] * relu(h[i,j])"


def passed(rows: int) -> dict[str, Array]:
    """4 MB of h for 1,000 rows."""
    rng = np.random.default_rng(rows)
    sizes = {"A": (rows, 3), "B": (3, 1000), "C": (2, 1000)}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in sizes.items()}


def held() -> int:
    """What lives of all that was made since, in MB."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0] >> 20


def test_what_passes_between_nests_is_not_kept_for_each_set_of_sizes() -> None:
    f = indexlang.compile(PASSED, outputs="y", backend="native")
    f.release()
    tracemalloc.start()
    try:
        f.plan({n: a.shape for n, a in passed(990).items()})
        assert held() < 3
        for rows in range(989, 985, -1):  # the memory of more is enough for less
            given = passed(rows)
            right = np.maximum(given["A"] @ given["B"], 0) @ given["C"].T
            for _ in range(2):
                np.testing.assert_allclose(f(given), right, rtol=1e-3, atol=1e-3)
        assert held() < 10
        f.release()
        assert held() < 5
    finally:
        tracemalloc.stop()


def test_calls_at_once_pass_on_what_is_their_own() -> None:
    f = indexlang.compile(PASSED, outputs="y", backend="native")
    given = [passed(700) | {"C": passed(700)["C"] + k} for k in range(4)]
    right = [f(some) for some in given]
    wrong: list[int] = []

    def call(k: int) -> None:
        wrong.extend(k for _ in range(20) if not np.array_equal(f(given[k]), right[k]))

    callers = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong and len({r.tobytes() for r in right}) == 4


CYCLE = """
import gc

import numpy as np

import indexlang


class Holder: ...


def turn(asked):
    f = indexlang.compile("s += x[i] * x[i]", backend="native")
    x, one = np.ones(8, np.float32), np.ones((), np.float32)
    for _ in range(4):
        s, pullback = f.vjp(x)
        pullback(one)
        f(x)
    holder = Holder()
    holder.me, holder.held = holder, {"pullback": pullback, "function": f, "way": f._quick}[asked]


gc.disable()
for asked in ("pullback", "function", "way") * 3:
    turn(asked)
    gc.collect()
print("right")
"""


@pytest.mark.skipif("glibc" not in platform.libc_ver()[0], reason="only glibc writes over what is freed")
def test_what_is_garbage_in_a_circle_is_not_read_again() -> None:
    """Functions, pullbacks and their ways go together, in any order, and freed bytes are overwritten."""
    environ = {**os.environ, "MALLOC_PERTURB_": "2", "PYTHONMALLOC": "malloc"}
    done = subprocess.run([sys.executable, "-c", CYCLE], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "right\n", done.stderr[-2000:]
