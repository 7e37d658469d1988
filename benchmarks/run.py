"""A run: all families by all libraries, then the page, the JSON and the pictures.

In: what to measure. Out: `benchmarks/RESULTS.md` and `benchmarks/results/` from a run of everything, the same under
`out/benchmarks` from a run of a part, so that a published page is never a mixture of runs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from . import pictures, pools, published, report
from .families import FAMILIES, LIMITS, rows
from .turns import Measured, Settings, libraries, measure
from .workload import FORWARD, OPTIONAL, OTHER, OURS, PEERS, Workload

ROUNDS = 7
PATIENCE = 30.0
PACKAGES = {OTHER: "indexlang", "einsum": "numpy", "torch.compile": "torch"}


def main(args: argparse.Namespace, dropped: Sequence[str]) -> None:
    """Measure and write."""
    start = time.perf_counter()
    wanted = args.only.split(",") if args.only else []
    peers = _peers(args.peers.split(",") if args.peers else [])
    rounds = args.rounds or ROUNDS
    settings = Settings(args.threads, args.busy, PATIENCE if args.patience is None else args.patience)
    everything = not (args.only or args.peers or args.rounds or args.busy)
    chosen = {family: _chosen(family, wanted) for family in (*FAMILIES, "growth")}
    if not any(chosen.values()):
        raise SystemExit(f"no workload has '{args.only}' in its name; families: {', '.join(FAMILIES)}")
    print(f"{', '.join(peers)}; {args.threads} threads, {rounds} rounds", flush=True)
    measured: list[Measured] = []
    limits: dict[str, float] = {}
    for family, workloads in chosen.items():
        used = [p for p in peers if any(w.build(p) is not None for w in workloads)]
        if not workloads:
            continue
        with libraries(used, settings) as started:
            for limit in rows(LIMITS):
                m = measure(LIMITS, limit, FORWARD, started, 3)
                kind, work = ("flops", m.flops) if m.flops else ("bytes", m.traffic)
                best = min((t for row in m.rows.values() for t in row.turns), default=math.inf)
                limits[kind] = max(limits.get(kind, 0.0), work / best)
            for workload in workloads:
                given_up: list[str] = []  # what failed forward is not tried forward and backward
                for mode in workload.modes:
                    turns = rounds if family != "growth" else min(rounds, 3)
                    m = measure(family, workload, mode, started, turns, given_up)
                    given_up += [p for p, row in m.rows.items() if row.failed and p != OURS]
                    measured.append(m)
                    print(report.line(m), flush=True)
    threads = pools.measure(tuple(p for p in ("numpy", "torch", "jax") if p in peers)) if everything else {}
    run = report.Run(
        measured, limits, published.machine(), published.versions(_packages(peers)), dropped, threads, args.threads,
        rounds, (time.perf_counter() - start) / 60, everything,
    )  # fmt: skip
    _write(run, published.folder(everything))


def _peers(named: Sequence[str]) -> list[str]:
    known = (*PEERS, *OPTIONAL)
    for name in named:
        if name not in known:
            raise SystemExit(f"no peer '{name}'; there are {', '.join(known)}")
    found = [p for p in known if (p in named or p == OURS if named else p in PEERS)]
    there = [p for p in found if find_spec(PACKAGES.get(p, p)) is not None]
    for missing in (p for p in found if p not in there):
        print(f"{missing} is not installed: left out")
    return there


def _chosen(family: str, wanted: Sequence[str]) -> list[Workload]:
    if not wanted or family in wanted:
        return list(rows(family))
    words = [w.lower() for w in wanted if w not in FAMILIES]
    return [w for w in rows(family) if any(word in w.name.lower() for word in words)] if family != "growth" else []


def _packages(peers: Sequence[str]) -> list[str]:
    return [PACKAGES.get(p, p) for p in ("numpy", *peers)]


def _write(run: report.Run, folder: Path) -> None:
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    drawn = ["results/ratios.svg"]
    pictures.ratios(run, folder / drawn[0])
    if run.of("growth"):
        drawn.append("results/growth.svg")
        pictures.growth(run, folder / drawn[1])
    published.write_page(report.page(run, drawn), folder)
    (results / "results.json").write_text(json.dumps(report.as_json(run), indent=1) + "\n", encoding="utf-8")
    print(f"\n{report.summary(run)}\n\n{report.targets(run)}\n\n{folder / 'RESULTS.md'}: {run.minutes:.1f} minutes")
