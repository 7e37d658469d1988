"""What was measured, as tables: RESULTS.md, the lines of a run, and JSON.

In: measurements. Out: text. The one rule: a ratio is the peer's time over ours, so more is better; a mean of ratios is
geometric.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .families import FAMILIES
from .families.growth import CURVES
from .turns import Measured, Row
from .workload import FORWARD, OPTIONAL, OURS, PEERS, STEP

ENGINES = ("torch", "jax")  # the better of them is what a family is held against


@dataclass(frozen=True)
class Run:
    """A whole run. `limits` are flop/s and B/s; `machine` and `versions` say where, in general terms."""

    measured: Sequence[Measured]
    limits: Mapping[str, float]
    machine: Sequence[str]
    versions: Mapping[str, str]
    dropped: Sequence[str]
    pools: Mapping[str, Mapping[str, float]]
    threads: int
    rounds: int
    minutes: float
    everything: bool

    @property
    def peers(self) -> list[str]:
        """The peers that ran."""
        ran = {peer for m in self.measured for peer in m.rows}
        return [peer for peer in (*PEERS, *OPTIONAL) if peer in ran and peer != OURS]

    def of(self, family: str, mode: str | None = None) -> list[Measured]:
        return [m for m in self.measured if m.family == family and mode in (None, m.mode)]


# -- numbers -------------------------------------------------------------------------------------------------


def mean(ratios: Iterable[float]) -> float:
    """The geometric mean of what is a number."""
    logs = [math.log(r) for r in ratios if r > 0]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


def shown(number: float) -> str:
    """A ratio with two or three digits, nothing where there is none."""
    if math.isnan(number):
        return ""
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds with a fitting unit."""
    if math.isnan(seconds):
        return ""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1 or unit == "us":
            number = seconds * factor
            return f"{number:.3g} {unit}" if number < 1000 else f"{number:.0f} {unit}"
    return ""


def size(number: float) -> str:
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.0f} kB"


def rate(m: Measured, limits: Mapping[str, float]) -> tuple[str, str]:
    """GF/s or GB/s of ours, and the share of the machine's limit."""
    row = m.rows.get(OURS)
    if row is None or not row.turns:
        return "", ""
    work, unit = (m.flops, "GF/s") if m.flops else (m.traffic, "GB/s")
    limit = limits.get("flops" if m.flops else "bytes", math.nan)
    per_second = work / row.seconds
    share = "" if math.isnan(limit) else f"{100 * per_second / limit:.0f} %"
    return f"{shown(per_second / 1e9)} {unit}", share


# -- tables --------------------------------------------------------------------------------------------------


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, columns padded so that it reads as text, too."""
    rows = [list(head), *map(list, lines)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    text = [" | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = " | ".join("-" * w if not k else "-" * (w - 1) + ":" for k, w in enumerate(widths))
    return "\n".join(f"| {line} |" for line in (text[0], rule, *text[1:]))


def ratios(run: Run, family: str) -> str:
    """A family's table: our time and rate, and the ratio to each peer."""
    lines = []
    for m in run.of(family):
        ours = m.rows.get(OURS, Row())
        cells = [shown(m.ratio(p)) or _why(m.rows.get(p)) for p in run.peers]
        name = m.workload if m.mode == STEP else f"{m.workload}, forward"
        lines.append([name, duration(ours.seconds) or _why(ours), *rate(m, run.limits), *cells])
    for mode in (FORWARD, STEP):
        rows = run.of(family, mode)
        if rows:
            means = [shown(mean(m.ratio(p) for m in rows)) for p in run.peers]
            lines.append([f"**geometric mean, {mode}**", "", "", "", *means])
    return table(["workload", OURS, "rate", "of the limit", *run.peers], lines)


def _why(row: Row | None) -> str:
    return "" if row is None or not row.failed else "-"


def summary(run: Run) -> str:
    """Geometric means by family."""
    lines = []
    for family, title in FAMILIES.items():
        for mode in (FORWARD, STEP):
            rows = run.of(family, mode)
            if rows:
                means = [shown(mean(m.ratio(p) for m in rows)) for p in run.peers]
                lines.append([f"{title}, {mode}", str(len(rows)), *means])
    for mode in (FORWARD, STEP):
        rows = [m for m in _compared(run) if m.mode == mode]
        lines.append([f"**all, {mode}**", str(len(rows)), *(shown(mean(m.ratio(p) for m in rows)) for p in run.peers)])
    return table(["family", "workloads", *run.peers], lines)


def _compared(run: Run) -> list[Measured]:
    return [m for m in run.measured if m.family in FAMILIES]


AIMS = {  # forward and backward, beside the better engine: the geometric mean, and each workload
    "conv": (1.15, 0.85),
    "gemm": (1.05, 0.85),
    "memory": (1.5, 0.9),
    "special": (5.0, 1.0),
    "tiny": (3.0, 1.0),
}
STEPS = {"LeNet-5, batch 64": 2.5, "AlexNet, batch 8": 1.2, "ResNet-18, batch 2": 1.1}
ALL = 1.5


def best(m: Measured) -> float:
    """The time of the better engine over ours."""
    return min((r for p in ENGINES if not math.isnan(r := m.ratio(p))), default=math.nan)


def targets(run: Run) -> str:
    """What was aimed at, and what was reached, forward and backward, beside the better of PyTorch and JAX."""
    lines: list[Sequence[str]] = []

    def add(what: str, aim: float, value: float, beside: str = "") -> None:
        lines.append(
            [what, f">= {aim}", shown(value), "" if math.isnan(value) else "yes" if value >= aim else "no", beside]
        )

    for family, (aim, least) in AIMS.items():
        found = {m.workload: best(m) for m in run.of(family, STEP)}
        there = {name: r for name, r in found.items() if not math.isnan(r)}
        add(f"{FAMILIES[family]}, mean", aim, mean(there.values()))
        worst = min(there, key=lambda name: there[name], default="")
        below = sum(r < least for r in there.values())
        add(f"{FAMILIES[family]}, worst", least, there.get(worst, math.nan), f"{worst} ({below} of {len(there)} below)")
    for name, aim in STEPS.items():
        add(name, aim, next((best(m) for m in run.of("train", STEP) if m.workload == name), math.nan))
    add("all, mean", ALL, mean(r for m in _compared(run) if m.mode == STEP and not math.isnan(r := best(m))))
    known = [m for m in _compared(run) if m.mode == STEP and not math.isnan(_memory(m))]
    more = [m for m in known if _memory(m) > 1]
    told = ", ".join(f"{m.workload} {_memory(m):.1f}" for m in sorted(more, key=_memory, reverse=True)[:5])
    lines.append(
        [
            "peak memory over PyTorch's",
            "<= 1",
            f"{len(more)} above" if known else "",
            ("no" if more else "yes") if known else "",
            told,
        ]
    )
    return table(["forward and backward, the better engine's time over ours", "aim", "reached", "met", ""], lines)


def aimed(what: str, found: Mapping[str, float], average: float, most: float) -> list[list[str]]:
    """Lines of a table of ratios of which less is better: their geometric mean (nan: none is aimed at), the worst."""
    lines = []

    def add(name: str, aim: float, value: float, beside: str = "") -> None:
        met = "" if math.isnan(value) else "yes" if value <= aim else "no"
        lines.append([name, f"<= {aim:g}", shown(value), met, beside])

    if not math.isnan(average):
        add(f"{what}, mean", average, mean(found.values()))
    worst = max(found, key=lambda name: found[name], default="")
    if len(found) == 1:
        add(what, most, found[worst])
    else:
        above = sorted((name for name in found if found[name] > most), key=lambda name: found[name], reverse=True)
        told = ", ".join(f"{name} {shown(found[name])}" for name in above or [worst] if name)
        add(f"{what}, worst", most, found.get(worst, math.nan), f"{told} ({len(above)} of {len(found)} above)")
    return lines


def _memory(m: Measured) -> float:
    """Our peak memory over PyTorch's; nan where that is not known, or a trifle."""
    ours, torch = (m.rows.get(p, Row()).memory for p in (OURS, "torch"))
    return ours / torch if ours and torch and max(ours, torch) > 5e6 else math.nan


def first_calls(run: Run) -> str:
    """From source to the end of the first call: what compiling costs."""
    peers = [OURS, *(p for p in ("jax", "torch", "torch.compile") if p in run.peers)]
    lines = [[m.workload, *(duration(m.rows[p].first) if p in m.rows else "" for p in peers)]
             for m in _compared(run) if m.mode == STEP]  # fmt: skip
    return table(["first call, forward and backward", *peers], lines)


def memory(run: Run) -> str:
    """The most memory that a call has beside its inputs."""
    peers = [p for p in (OURS, *run.peers) if p in (OURS, "numpy", "jax", "torch")]
    lines = []
    for m in _compared(run):
        most = max((row.memory for row in m.rows.values()), default=0)
        if m.mode == STEP and most > 20e6:
            lines.append([m.workload, *(size(m.rows[p].memory) if p in m.rows else "" for p in peers)])
    return table(["peak memory, forward and backward", *peers], lines)


def growth(run: Run) -> str:
    """Cost by size: measured time over the law's, from the size where the law held best."""
    found = {m.workload: m for m in run.of("growth")}
    parts = []
    for name, curve in CURVES.items():
        lines = []
        for size_, w in curve.workloads.items():
            m = found.get(w.name)
            if m is not None:
                rows = [m.rows.get(p, Row()) for p in (OURS, "torch")]
                cells = [
                    cell for row in rows for cell in (duration(row.seconds), size(row.memory) if row.turns else "")
                ]
                lines.append([str(size_), *cells])
        if lines:
            head = [curve.unit, f"{OURS}, time", "memory", "torch, time", "memory"]
            law = f"Time should grow with the power {curve.time_power} of the size, memory with {curve.memory_power}."
            parts.append(f"**{name}.** {law}\n\n{table(head, lines)}")
    return "\n\n".join(parts)


def failures(run: Run) -> list[str]:
    """What could not be measured, and why."""
    return [f"- {m.workload}, {m.mode}, {peer}: {row.failed.splitlines()[0][:160]}"
            for m in run.measured for peer, row in m.rows.items() if row.failed]  # fmt: skip


# -- the page ------------------------------------------------------------------------------------------------


def page(run: Run, pictures: Sequence[str]) -> str:
    """RESULTS.md."""
    dropped = ", ".join(run.dropped) or "none was set"
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    units = {"flops": "GF/s of sgemm", "bytes": "GB/s of copying, reads and writes"}
    limits = ", ".join(f"{limit / 1e9:.0f} {units[kind]}" for kind, limit in run.limits.items())
    parts = [
        "# Measured",
        "Made by `python -m benchmarks`; do not edit. Ratios are the peer's time over indexlang's: more is better, "
        f"1 is equal. Each number is the median of {run.rounds} turns. {run.minutes:.0f} minutes in all.",
        f"Machine: {'; '.join(run.machine)}; {run.threads} threads for every library. Limits, the best that any "
        f"library reached in this run: {limits}.",
        f"Versions: {versions}.",
        f"Settings of BLAS, threads and Python removed from the environment, for all libraries alike: {dropped}.",
        "One process a library, stopped while another one is measured; turns interleaved; the same data; results "
        "compared before anything is timed. JAX: one jitted function, the faster of two layouts. PyTorch: eager, the "
        "faster of the contiguous and the channels_last format. NumPy: forward and backward by hand, workspaces kept "
        "(`byhand.py`). einsum: `np.einsum(optimize=True)`. A dash: the library was given up or gave something else "
        "(see the end). Memory: how far a process grows from where all has run once and nothing is kept until a "
        "call of the workload prepared anew: results, what is kept from call to call and what passes, but not what is "
        "loaded and compiled once.",
        "## Targets",
        targets(run),
        "## Geometric means",
        summary(run),
        *(f"![{p}]({p})" for p in pictures[:1]),
    ]
    for family, title in FAMILIES.items():
        if run.of(family):
            parts += [f"## {title[0].upper()}{title[1:]}", ratios(run, family)]
    parts += ["## Compiling", first_calls(run), "## Memory", memory(run)]
    if run.of("growth"):
        parts += ["## How cost grows", *(f"![{p}]({p})" for p in pictures[1:]), growth(run)]
    if run.pools:
        parts += ["## Why one process a library", pools(run)]
    if failures(run):
        parts += ["## Not measured", "\n".join(failures(run))]
    return "\n\n".join(parts) + "\n"


def pools(run: Run) -> str:
    """What the libraries' threads do to each other in one process."""
    lines = [
        [where, *(duration(found.get(p, math.nan) / 1e3) for p in run.pools["alone"])]
        for where, found in run.pools.items()
    ]
    head = ["a product of 512x512", *run.pools["alone"]]
    why = (
        "Threads of BLAS and OpenMP spin for a while when they have nothing to do, and take the processors from others."
    )
    return f"{why}\n\n{table(head, lines)}"


def line(m: Measured) -> str:
    """A line while it runs."""
    cells = [f"{p} {shown(m.ratio(p))}" for p in m.rows if p != OURS and not math.isnan(m.ratio(p))]
    failed = [f"{p}: {row.failed.splitlines()[0][:100]}" for p, row in m.rows.items() if row.failed]
    ours = m.rows.get(OURS, Row())
    return (
        f"{m.family:<8} {m.workload}, {m.mode}: {duration(ours.seconds)}; times as long: {', '.join([*cells, *failed])}"
    )


def as_json(run: Run) -> dict[str, Any]:
    """All that was measured."""
    return {**asdict(run), "measured": [{**asdict(m), "ratios": {p: m.ratio(p) for p in m.rows}} for m in run.measured]}
