"""`python -m benchmarks cliffs`: equations as users write them beside short NumPy by hand, and how both grow.

In: the rows of `families.cliffs`. Out: a table, worst first, and totals, printed and published. The one rule: every row
has a budget. A call that takes long is measured once, a larger size is left out where it can be seen to take too long,
and that is said. All first sizes come before the larger ones, which end with the time of the command.

Ratios are our time over the hand's forward time: less is better. Forward and backward, 3 is par.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec

from . import published
from .families import find
from .families.cliffs import ROWS
from .families.cliffs.row import SCALES, Row
from .report import aimed, duration, mean, shown, table
from .turns import Library, Measured, Settings, libraries, measure
from .turns import Row as Found
from .worker import Request
from .workload import FORWARD, OURS, STEP

FAMILY, HAND, TORCH = "cliffs", "numpy", "torch"
PATIENCE = 6.0  # seconds in which a library has to answer
SHARED = 4
ONCE = 0.5  # seconds of a call that is not measured again
BUDGET = 1.5  # seconds of a call that is not tried
MINUTES = 9.0  # after which no larger size is begun
GUESS = 2.0  # by what power of the size time grows until it was seen
TURN = 0.005  # seconds of a turn; the best one counts
ROUNDS = 7
BAD, WORSE = 3.0, 8.0
CALLS = 1e-4  # seconds of the hand below which it is calls that are measured
AIMS = {FORWARD: (1.2, 3.0), STEP: (3.5, 8.0)}  # the geometric mean, and each row
SPARSE = {"attention, causal band of 32 in 4096": 2.0, "attention, blocks of 64 in 4096": 2.0}  # forward


@dataclass
class Cliff:
    """What was found of a row: by scale and mode what was measured; peaks in bytes by mode and library."""

    row: Row
    measured: dict[tuple[int, str], Measured] = field(default_factory=dict)
    peaks: dict[tuple[str, str], int] = field(default_factory=dict)
    skipped: dict[tuple[int, str], float] = field(default_factory=dict)

    def found(self, mode: str, peer: str = OURS, scale: int = 1) -> Found:
        """What a library did."""
        measured = self.measured.get((scale, mode))
        return measured.rows.get(peer, Found()) if measured else Found()

    def seconds(self, mode: str, peer: str = OURS, scale: int = 1) -> float:
        """The best turn: what others do on the machine only adds to it."""
        return min(self.found(mode, peer, scale).turns, default=math.nan)

    def ratio(self, mode: str, peer: str = HAND, scale: int = 1) -> float:
        """Our time over that of a library; over the hand's forward in either mode."""
        return self.seconds(mode, OURS, scale) / self.seconds(mode, peer, scale)

    def slope(self, mode: str, peer: str = OURS) -> float:
        """The exponent of time by size, through the sizes that were measured."""
        points = [(math.log(s), math.log(t)) for s in SCALES if (t := self.seconds(mode, peer, s)) > 0]
        if len(points) < 2:
            return math.nan
        x, y = (sum(p[k] for p in points) / len(points) for k in (0, 1))
        return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)

    @property
    def failure(self) -> str:
        """Why there is no ratio at the base size."""
        for mode in (FORWARD, STEP):
            for peer in (OURS, HAND, TORCH):
                if found := self.found(mode, peer).failed:
                    return f"{peer}, {mode}: {found.splitlines()[0][:120]}"
        return ""

    @property
    def worst(self) -> float:
        """By which rows are sorted: par is 1 in both modes; what failed is worst."""
        ratios = [self.ratio(mode) / (3 if mode == STEP else 1) for mode in self.row.modes]
        return math.inf if any(math.isnan(r) for r in ratios) else max(ratios)


def main(args: argparse.Namespace) -> None:
    """Measure and print."""
    start = time.perf_counter()
    rows = [row for row in ROWS if (args.only or "").lower() in row.name.lower()]
    if not rows:
        raise SystemExit(f"no row has '{args.only}' in its name")
    peers = [OURS, HAND, *([TORCH] if find_spec(TORCH) and any(row.torch for row in rows) else [])]
    settings = Settings(args.threads, args.busy, patience(args))
    scales = SCALES[:1] if args.quick else SCALES
    cliffs = [Cliff(row) for row in rows]
    with libraries(peers, settings) as started:
        for cliff in cliffs:
            examine(cliff, 1, started, args.rounds or ROUNDS)
            print(line(cliff), flush=True)
        for scale, cliff in ((s, c) for s in scales[1:] for c in cliffs):
            if time.perf_counter() - start < 60 * MINUTES:
                examine(cliff, scale, started, args.rounds or ROUNDS)
            else:
                cliff.skipped |= {(scale, mode): math.nan for mode in cliff.row.modes}
    text = "\n\n".join(
        [
            introduction(cliffs, published.how(args.threads, args.busy), (time.perf_counter() - start) / 60),
            targets(cliffs),
            totals(cliffs),
            page(cliffs, scales, peers),
        ]
    )
    published.write_part(FAMILY, text, published.folder(not (args.only or args.rounds or args.quick)))
    print(f"\n{text}")


def patience(args: argparse.Namespace) -> float:
    """What is asked for; more of it where others use the machine, too."""
    return float(args.patience or PATIENCE * (SHARED if args.busy else 1))


def examine(cliff: Cliff, scale: int, started: Mapping[str, Library], rounds: int, family: str = FAMILY) -> None:
    """Both modes at a size, where they fit into the row's budget; at the first size the peaks, too."""
    row = cliff.row
    for mode in row.modes:
        expected = estimate(cliff, scale, mode)
        if expected > BUDGET:
            cliff.skipped[scale, mode] = expected
            continue
        peers = started if scale == 1 else {p: started[p] for p in (OURS, HAND)}
        turns = rounds if scale == 1 else min(rounds, 4)
        workload = find(family, row.at(scale))
        cliff.measured[scale, mode] = measure(family, workload, mode, peers, turns, (), ONCE, TURN)
    for mode, peer in ((FORWARD, OURS), (FORWARD, HAND), (STEP, OURS)):
        if scale == 1 and cliff.seconds(mode, peer) < ONCE:
            reply = started[peer].ask(Request("peak", family, row.name, mode))
            if isinstance(reply, int):
                cliff.peaks[mode, peer] = reply


def estimate(cliff: Cliff, scale: int, mode: str) -> float:
    """Seconds of our call, from the scale before; infinite where that one failed."""
    if scale == 1:
        return math.inf if mode == STEP and cliff.found(FORWARD).failed else 0.0
    before = scale // 2
    seconds = cliff.seconds(mode, scale=before)
    if math.isnan(seconds):
        return math.inf
    power = GUESS
    if before > 1 and (earlier := cliff.seconds(mode, scale=before // 2)) > 0:
        power = math.log2(seconds / earlier)
    return float(seconds * 2**power)


# -- what is printed -----------------------------------------------------------------------------------------


def line(cliff: Cliff) -> str:
    """A row while the command runs."""
    hand = duration(cliff.seconds(FORWARD, HAND))
    ratios = f"{shown(cliff.ratio(FORWARD))} {shown(cliff.ratio(STEP))}"
    return f"{cliff.row.name}: by hand {hand}, times as long: {ratios} {cliff.failure}".rstrip()


def introduction(cliffs: Sequence[Cliff], how: str, minutes: float) -> str:
    """What the tables show."""
    long = [c for c in cliffs if c.seconds(FORWARD, HAND) >= CALLS]
    means = [shown(mean(r for c in long if not math.isnan(r := c.ratio(mode)))) for mode in (FORWARD, STEP)]
    return (
        f"`python -m benchmarks {FAMILY}`: equations as users write them beside short NumPy by hand, {how}, "
        "at their best turns. Times of ours over the hand's forward pass, so less is better; memory beside inputs "
        f"and outputs, in MB; `{TORCH}` is PyTorch's own function where there is one; x2 and x4 are the same at two "
        "and four times the size. Where the hand takes less than 0.1 ms, calls are what is measured: of the "
        f"{len(long)} rows where it takes more the geometric mean is {means[0]} forward and {means[1]} with gradients. "
        "The gradient of `one-hot in a score` is a dense array of 65 MB, nearly all of it zeros. "
        f"{published.when(minutes)}"
    )


def targets(cliffs: Sequence[Cliff]) -> str:
    """What was aimed at, and what was reached."""
    lines = []
    for mode, (average, most) in AIMS.items():
        found = {c.row.name: r for c in cliffs if not math.isnan(r := c.ratio(mode))}
        lines += aimed(mode, found, average, most)
    named = {c.row.name: c for c in cliffs if c.row.name in SPARSE}
    for name, most in SPARSE.items():
        if name in named:
            lines += aimed(f"{name}, forward", {name: named[name].ratio(FORWARD)}, math.nan, most)
    return table(["ours over the hand's forward pass", "aim", "reached", "met", ""], lines)


def page(cliffs: Sequence[Cliff], scales: Sequence[int], peers: Sequence[str]) -> str:
    """The table, worst first, and what failed or was left out."""
    head = ["equation", "by hand", "forward", "and backward"]
    head += ["hand's MB", "ours, forward", "and backward"]
    head += ["torch", "and backward"] if TORCH in peers else []
    if len(scales) > 1:
        head += [f"x{s}, {mode}" for s in scales[1:] for mode in ("forward", "and backward")]
        head += ["hand grows by", "ours, forward", "and backward"]
    rows = sorted(cliffs, key=lambda c: c.worst, reverse=True)
    text = table(head, [[*cells(cliff, scales, peers)] for cliff in rows])
    notes = [f"- {c.row.name}: {c.failure}" for c in rows if c.failure]
    if any(c.skipped for c in rows):
        notes.append(
            "- >: a size left out, as a call would take more than so many seconds; ?: it is not known how many; "
            "-: no time was left for it"
        )
    return "\n\n".join([text, "\n".join(notes)]) if notes else text


def cells(cliff: Cliff, scales: Sequence[int], peers: Sequence[str]) -> Iterator[str]:
    """A line of the table."""
    yield cliff.row.name
    yield duration(cliff.seconds(FORWARD, HAND))
    for mode in (FORWARD, STEP):
        yield shown(cliff.ratio(mode)) or missing(cliff, 1, mode)
    for mode, peer in ((FORWARD, HAND), (FORWARD, OURS), (STEP, OURS)):
        yield shown(cliff.peaks[mode, peer] / 1e6) if (mode, peer) in cliff.peaks else ""
    if TORCH in peers:
        for mode in (FORWARD, STEP):
            yield shown(cliff.ratio(mode, TORCH))
    if len(scales) > 1:
        for scale in scales[1:]:
            for mode in (FORWARD, STEP):
                yield shown(cliff.ratio(mode, scale=scale)) or missing(cliff, scale, mode)
        for mode, peer in ((FORWARD, HAND), (FORWARD, OURS), (STEP, OURS)):
            yield shown(cliff.slope(mode, peer))


def missing(cliff: Cliff, scale: int, mode: str) -> str:
    """Why there is no number."""
    if (scale, mode) in cliff.skipped:
        seconds = cliff.skipped[scale, mode]
        if math.isnan(seconds):
            return "-"
        return "?" if math.isinf(seconds) else f"> {seconds:.0f} s"
    return "failed" if mode in cliff.row.modes else ""


def totals(cliffs: Sequence[Cliff]) -> str:
    """Means, the worst, and how many rows are bad."""
    lines = []
    for mode, par in ((FORWARD, 1), (STEP, 3)):
        ratios = [r for c in cliffs if not math.isnan(r := c.ratio(mode))]
        failed = sum(mode in c.row.modes for c in cliffs) - len(ratios)
        counts = [str(sum(r > limit for r in ratios) + failed) for limit in (BAD, WORSE)]
        over = str(sum(r > BAD * par for r in ratios) + failed)
        lines.append([mode, shown(mean(ratios)), shown(max(ratios, default=math.nan)), *counts, over, str(failed)])
    head = [f"{len(cliffs)} rows", "geometric mean", "worst", f"above {BAD:.0f}", f"above {WORSE:.0f}",
            f"above {BAD:.0f} times par", "not measured"]  # fmt: skip
    return table(head, lines)
