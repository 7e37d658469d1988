"""`python -m benchmarks recurrences`: blocks beside PyTorch and scalar loops, and how they grow with their steps.

In: the cases below. Out: tables, and of a whole run `results/recurrences.md`. The one rule: values are compared before
anything is timed, and all that is compared takes turns in one process.

Ratios are the peer's time over ours: more is better.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import indexlang

from . import published
from .report import duration, shown, table
from .rounds import interleaved

Array = NDArray[Any]
Call = Callable[[], Any]

RESULTS = published.WHOLE / published.RESULTS / "recurrences.md"
Backend = Literal["numpy", "native"]
BACKENDS: tuple[Backend, ...] = ("numpy", "native")
ROUNDS = 9
TURN = 0.02  # seconds of a turn, at least
LONGEST = 0.5  # seconds of a turn, about, at most
STEPS = (256, 512, 1024, 2048, 4096)
SLOPE = 0.1  # how far the exponent of time by steps may be from 1

LSTM = """\
layer lstm(x[T,B,I], h0[B,K], c0[B,K], W[I,4,K], U[K,4,K], b[4,K]) -> h[T+1,B,K]:
    h[0,n,k] = h0[n,k]
    c[0,n,k] = c0[n,k]
    for t:
        a[t,n,g,k]  = W[i,g,k] * x[t,n,i]
        a[t,n,g,k] += U[l,g,k] * h[t,n,l]
        a[t,n,g,k] += b[g,k]
        c[t+1,n,k] = sigmoid(a[t,n,1,k]) * c[t,n,k] + sigmoid(a[t,n,0,k]) * tanh(a[t,n,2,k])
        h[t+1,n,k] = sigmoid(a[t,n,3,k]) * tanh(c[t+1,n,k])
"""
HMM = """\
layer hmm(e[T,K], A[K,K], p[K]) -> z:
    a[0,k] = p[k] + e[0,k]
    for 1 <= t < T:
        a[t,j] = logsumexp[i](a[t-1,i] + A[i,j]) + e[t,j]
    z = logsumexp[k](a[T-1,k])
"""
DTW = """\
layer dtw(x[N], y[M]) -> z:
    d[i,0] = i
    d[0,j+1] = 2 * (j + 1)
    for i < N, j < M:
        d[i+1,j+1] = min(min(d[i,j] + (x[i] - y[j])**2, d[i,j+1] + 1), d[i+1,j] + 0.5)
    z = d[N,M]
"""
LOOP = """\
static float least(float a, float b) { return a < b ? a : b; }
float dtw(const float *x, const float *y, float *d, long n, long m) {
    d[0] = 0;
    for (long i = 0; i < n; i++) d[(i + 1) * (m + 1)] = i + 1;
    for (long j = 0; j < m; j++) d[j + 1] = 2 * (j + 1);
    for (long i = 0; i < n; i++)
        for (long j = 0; j < m; j++) {
            const float *above = d + i * (m + 1) + j;
            float e = x[i] - y[j];
            d[(i + 1) * (m + 1) + j + 1] = least(least(above[0] + e * e, above[1] + 1), above[m + 1] + 0.5f);
        }
    return d[(n + 1) * (m + 1) - 1];
}
"""
MLP = """\
a[b,k] = W[i,k] * x[b,i]
s[b,o] = V[k,o] * tanh(a[b,k])
loss = mean[b](logsumexp[o](s[b,o]) - s[b,label[b]])
"""


@dataclass(frozen=True)
class Case:
    """Calls that give the same: ours by backend, a peer's, if it is there, and how fast ours is to be beside it."""

    name: str
    peer: str
    ours: Mapping[str, Call]
    theirs: Call | None
    aims: Mapping[str, float]
    tolerance: float = 1e-4

    def difference(self) -> str:
        """What is not the same, if anything."""
        expected = self.theirs() if self.theirs else next(iter(self.ours.values()))()
        for backend, call in self.ours.items():
            for one, other in zip(call(), expected, strict=True):
                if not np.allclose(one, other, self.tolerance, self.tolerance * (1e-6 + float(np.abs(other).max()))):
                    return f"{self.name}, {backend}: {np.abs(one - other).max():.2g} from {self.peer}"
        return ""


def main(args: argparse.Namespace) -> None:
    """Measure, print, and write the page of a whole run."""
    start = time.perf_counter()
    indexlang.set_num_threads(args.threads)
    if find_spec("torch"):
        import_module("torch").set_num_threads(args.threads)
    rounds, wanted = args.rounds or ROUNDS, (args.only or "").lower()
    makers = [make for name, make in CASES.items() if wanted in name]
    growing = wanted in "steps"
    if not (makers or growing):
        raise SystemExit(f"no case has '{args.only}' in its name: {', '.join([*CASES, 'steps'])}")
    lines, notes = [], []
    for make in makers:
        case = make(args.quick)
        if different := case.difference():
            notes.append(different)
            continue
        if case.theirs is None:
            notes.append(f"{case.name}: without {case.peer}, which is not here")
        lines += [*rows(case, rounds)]
        print(*lines[-1], sep=", ", flush=True)
    parts = []
    if lines:
        parts.append(table(["", "backend", "ours", "the peer's", "ratio", "aim", "met", "peer"], lines))
    if growing:
        parts.append(growth([max(2, n // 64) for n in STEPS] if args.quick else STEPS, rounds))
    parts += [f"- {note}" for note in notes]
    text = "\n\n".join(parts)
    print(f"\n{text}")
    minutes = (time.perf_counter() - start) / 60
    if not (wanted or args.quick):
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(f"{head(rounds, args.threads, minutes)}\n\n{text}\n", encoding="utf-8")
        print(f"\nwritten to {RESULTS}")


def head(rounds: int, threads: int, minutes: float) -> str:
    """What was measured, and where."""
    return (
        "# Recurrences\n\nMade by `python -m benchmarks recurrences`; do not edit. Ratios are the peer's time over "
        f"indexlang's: more is better. float32, medians of {rounds} turns {published.how(threads, False)}, all in one "
        f"process, turn by turn.\n\n{published.when(minutes)}"
    )


def rows(case: Case, rounds: int) -> Sequence[Sequence[str]]:
    """A line for each backend."""
    things = {**case.ours, **({"peer": case.theirs} if case.theirs else {})}
    once = {name: timed(thing) for name, thing in things.items()}
    repeat = math.ceil(min(TURN / min(once.values()), max(1.0, LONGEST / max(once.values()))))
    found = interleaved(things, rounds, repeat)
    theirs = found.get("peer", math.nan)
    lines = []
    for backend in case.ours:
        ratio, aim = theirs / found[backend], case.aims.get(backend, math.nan)
        met = "" if math.isnan(ratio) or math.isnan(aim) else "yes" if ratio >= aim else "no"
        cells = [duration(found[backend]), duration(theirs), shown(ratio), shown(aim), met, case.peer]
        lines.append([case.name, backend, *cells])
    return lines


def timed(call: Call) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# -- the cases -----------------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, *shape: int, by: float = 1.0) -> Array:
    """Numbers in float32."""
    return np.asarray(by * rng.standard_normal(shape), np.float32)


def lstm_arrays(steps: int, batch: int, units: int) -> dict[str, Array]:
    """What the LSTM reads."""
    rng = np.random.default_rng(0)
    shapes = {"x": (steps, batch, units), "h0": (batch, units), "c0": (batch, units), "W": (units, 4, units),
              "U": (units, 4, units), "b": (4, units)}  # fmt: skip
    return {name: drawn(rng, *shape, by=0.1) for name, shape in shapes.items()}


def trained(text: str, backend: Backend, given: Mapping[str, Array], cotangent: Array) -> Call:
    """The value and all gradients."""
    f = indexlang.compile(text, backend=backend)

    def run() -> list[Array]:
        y, pullback = f.vjp(given)
        found = pullback(cotangent)
        return [y, *(found[name] for name in given)]

    return run


def lstm(small: bool) -> Case:
    """Forward and backward, beside PyTorch's own."""
    steps, batch, units = (8, 2, 8) if small else (256, 32, 128)
    given = lstm_arrays(steps, batch, units)
    dy = np.concatenate([np.zeros((1, batch, units), np.float32), drawn(np.random.default_rng(1), steps, batch, units)])
    ours: dict[str, Call] = {backend: trained(LSTM, backend, given, dy) for backend in BACKENDS}
    theirs = torch_lstm(given, dy) if find_spec("torch") else None
    name = f"LSTM, {steps} steps, {batch} x {units}, and backward"
    return Case(name, "torch.nn.LSTM", ours, theirs, {"numpy": 0.5, "native": 1.0}, 1e-3)


def torch_lstm(given: Mapping[str, Array], dy: Array) -> Call:
    """The same by `torch.nn.LSTM`, which has two biases."""
    torch: Any = import_module("torch")
    units = given["U"].shape[0]
    net = torch.nn.LSTM(given["W"].shape[0], units)
    flat: dict[str, Array] = {
        "weight_ih_l0": given["W"].reshape(-1, 4 * units).T,
        "weight_hh_l0": given["U"].reshape(-1, 4 * units).T,
        "bias_ih_l0": given["b"].reshape(-1),
        "bias_hh_l0": np.zeros(4 * units, np.float32),
    }
    net.load_state_dict({name: torch.tensor(np.ascontiguousarray(a)) for name, a in flat.items()})
    x, h, c = (torch.tensor(given[n], requires_grad=True) for n in ("x", "h0", "c0"))
    after = torch.tensor(dy[1:])

    def run() -> list[Array]:
        net.zero_grad()
        x.grad = h.grad = c.grad = None
        y, _ = net(x, (h[None], c[None]))
        y.backward(after)
        whole = np.concatenate([given["h0"][None], y.detach().numpy()])
        by = {name: p.grad.numpy() for name, p in net.named_parameters()}
        w, u = (by[f"weight_{n}_l0"].T.reshape(-1, 4, units) for n in ("ih", "hh"))
        return [whole, *(t.grad.numpy() for t in (x, h, c)), w, u, by["bias_ih_l0"].reshape(4, units)]

    return run


def hmm(small: bool) -> Case:
    """The forward algorithm with its gradients, beside a loop of PyTorch's."""
    steps, states = (8, 4) if small else (1000, 64)
    rng = np.random.default_rng(0)
    given: dict[str, Array] = {"e": drawn(rng, steps, states), "A": drawn(rng, states, states), "p": drawn(rng, states)}
    ours: dict[str, Call] = {backend: trained(HMM, backend, given, np.ones((), np.float32)) for backend in BACKENDS}
    name = f"HMM in log space, {steps} steps, {states} states, and backward"
    return Case(name, "a PyTorch loop", ours, torch_hmm(given) if find_spec("torch") else None, {"native": 5.0}, 1e-3)


def torch_hmm(given: Mapping[str, Array]) -> Call:
    """The same, step by step."""
    torch: Any = import_module("torch")
    e, pairs, p = (torch.tensor(given[n], requires_grad=True) for n in ("e", "A", "p"))

    def run() -> list[Array]:
        e.grad = pairs.grad = p.grad = None
        a = p + e[0]
        for t in range(1, len(e)):
            a = torch.logsumexp(a[:, None] + pairs, 0) + e[t]
        z = torch.logsumexp(a, 0)
        z.backward()
        return [z.detach().numpy(), *(t.grad.numpy() for t in (e, pairs, p))]

    return run


def dtw(small: bool) -> Case:
    """Two indices, forward, beside a loop over numbers."""
    size = 20 if small else 1000
    rng = np.random.default_rng(0)
    x, y = drawn(rng, size), drawn(rng, size)
    functions = {backend: indexlang.compile(DTW, backend=backend) for backend in BACKENDS}
    ours: dict[str, Call] = {backend: lambda f=f: [f(x=x, y=y)] for backend, f in functions.items()}  # type: ignore[misc]
    peer, loop = scalar_loop(x, y)
    return Case(f"time warping, {size} x {size}", peer, ours, loop, {"native": 0.7})


def scalar_loop(x: Array, y: Array) -> tuple[str, Call | None]:
    """The recurrence number by number: by numba, or by the system's C compiler, or not at all."""
    d = np.empty((len(x) + 1, len(y) + 1), np.float32)
    if find_spec("numba"):
        jitted = import_module("numba").njit(python_loop)
        return "a scalar loop, numba", lambda: [jitted(x, y, d)]
    if (compiler := shutil.which("cc")) is None:
        return "a scalar loop (numba or cc)", None
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder, "dtw.c"), Path(folder, "dtw.so")
        source.write_text(LOOP, encoding="utf-8")
        command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(made), str(source)]
        subprocess.run(command, check=True)
        function = ctypes.CDLL(str(made)).dtw
    function.restype = ctypes.c_float
    function.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_long] * 2]
    return "a scalar loop in C", lambda: [np.float32(function(*(a.ctypes.data for a in (x, y, d)), len(x), len(y)))]


def python_loop(x: Array, y: Array, d: Array) -> Any:
    """What numba compiles."""
    d[0, 0] = 0
    for i in range(len(x)):
        d[i + 1, 0] = i + 1
    for j in range(len(y)):
        d[0, j + 1] = 2 * (j + 1)
    for i in range(len(x)):
        for j in range(len(y)):
            e = x[i] - y[j]
            d[i + 1, j + 1] = min(min(d[i, j] + e * e, d[i, j + 1] + 1), d[i + 1, j] + np.float32(0.5))
    return d[len(x), len(y)]


def hvp(small: bool) -> Case:
    """No recurrence, but a derivative of a derivative: the Hessian of a network's loss times a direction."""
    batch, units, classes = (4, 5, 3) if small else (128, 256, 10)
    rng = np.random.default_rng(0)
    given: dict[str, Array] = {"x": drawn(rng, batch, units), "label": rng.integers(0, classes, batch)}
    given |= {"W": drawn(rng, units, units, by=0.06), "V": drawn(rng, units, classes, by=0.06)}
    along = {"W": drawn(rng, units, units), "V": drawn(rng, units, classes)}

    def ours(backend: Backend) -> Call:
        f = indexlang.compile(MLP, backend=backend)

        def run() -> list[Array]:
            found = f.hvp(along, given)
            return [found[n] for n in along]

        return run

    theirs = torch_hvp(given, along) if find_spec("torch") else None
    name = f"Hessian of an MLP times a direction, {batch} x {units}"
    return Case(name, "torch.autograd.grad, twice", {b: ours(b) for b in BACKENDS}, theirs, {"native": 1.0}, 1e-3)


def torch_hvp(given: Mapping[str, Array], along: Mapping[str, Array]) -> Call:
    """The gradient of the gradient times the direction."""
    torch: Any = import_module("torch")
    x, label = torch.tensor(given["x"]), torch.tensor(given["label"])
    w, v = (torch.tensor(given[n], requires_grad=True) for n in "WV")
    ways = [torch.tensor(along[n]) for n in "WV"]

    def run() -> list[Array]:
        loss = torch.nn.functional.cross_entropy(torch.tanh(x @ w) @ v, label)
        first = torch.autograd.grad(loss, (w, v), create_graph=True)
        product = sum((g * way).sum() for g, way in zip(first, ways, strict=True))
        return [g.numpy() for g in torch.autograd.grad(product, (w, v))]

    return run


CASES: Mapping[str, Callable[[bool], Case]] = {"lstm": lstm, "hmm": hmm, "dtw": dtw, "hvp": hvp}


# -- more steps ----------------------------------------------------------------------------------------------


def growth(counts: Sequence[int], rounds: int) -> str:
    """The time of an LSTM with its gradients by its steps, and what the first call at such sizes takes besides."""
    lines = []
    for backend in BACKENDS:
        later, first = {}, {}
        for steps in counts:
            later[steps], first[steps] = by_steps(backend, steps, rounds)
        power = slope(later)
        met = "yes" if abs(power - 1) <= SLOPE else "no"
        cells = [cell for steps in counts for cell in (duration(later[steps]), duration(first[steps]))]
        lines.append([backend, *cells, shown(power), met])
    heads = [cell for steps in counts for cell in (f"{steps} steps", "first")]
    return table(["LSTM, 4 x 32, and backward", *heads, "grows by", "met"], lines)


def by_steps(backend: Backend, steps: int, rounds: int) -> tuple[float, float]:
    """The median of later calls, and how much longer the first one at new sizes takes."""
    given = lstm_arrays(steps, 4, 32)
    call = trained(LSTM, backend, given, np.ones((steps + 1, 4, 32), np.float32))
    first = timed(call)
    later = median(timed(call) for _ in range(rounds))
    return later, max(first - later, 0.0)


def slope(times: Mapping[int, float]) -> float:
    """The exponent of time by steps: the line through all logarithms."""
    return float(np.polyfit(np.log([*times]), np.log([*times.values()]), 1)[0])
