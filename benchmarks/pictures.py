"""The pictures: ratios by family, and how cost grows."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib

from .families import FAMILIES
from .families.growth import CURVES
from .report import Run, mean
from .workload import OTHER, OURS, STEP

matplotlib.use("Agg")
from matplotlib import pyplot as plt

COLOURS = {OURS: "black", OTHER: "dimgray", "numpy": "tab:blue", "einsum": "tab:cyan", "opt_einsum": "tab:olive",
           "autograd": "tab:green", "jax": "tab:purple", "torch": "tab:red", "torch.compile": "tab:pink"}  # fmt: skip
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "svg.hashsalt": "indexlang"}


def ratios(run: Run, path: Path) -> None:
    """Forward and backward: a column a family, a dot a workload, a bar the geometric mean."""
    families = [f for f in FAMILIES if run.of(f, STEP)]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(10, 4.5), layout="constrained")
        axes.axhline(1, color="black", linewidth=0.8)
        width = 0.8 / max(1, len(run.peers))
        for k, peer in enumerate(run.peers):
            for n, family in enumerate(families):
                found = [r for m in run.of(family, STEP) if not math.isnan(r := m.ratio(peer))]
                if found:
                    x = n - 0.4 + (k + 0.5) * width
                    axes.plot([x] * len(found), found, "o", markersize=3, alpha=0.6, color=COLOURS[peer])
                    ends = (x - 0.4 * width, x + 0.4 * width)
                    axes.hlines(mean(found), *ends, color=COLOURS[peer], linewidth=2.5)
            axes.plot([], [], "o", color=COLOURS[peer], label=peer)
        axes.set_yscale("log")
        axes.set_xticks(range(len(families)), [FAMILIES[f] for f in families])
        axes.set_ylabel("the peer's time / indexlang's")
        axes.set_title("Forward and backward: above 1, indexlang is faster", loc="left")
        axes.legend(ncols=len(run.peers), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1))
        _save(figure, path)


def growth(run: Run, path: Path) -> None:
    """Time and peak memory by size, with the law through our largest size."""
    found = {m.workload: m for m in run.of("growth")}
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, len(CURVES), figsize=(11, 6), layout="constrained", squeeze=False)
        for column, (name, curve) in enumerate(CURVES.items()):
            measured = {size: found[w.name] for size, w in curve.workloads.items() if w.name in found}
            for row, (what, unit, power) in enumerate(
                (("seconds", 1e3, curve.time_power), ("memory", 1e-6, curve.memory_power))
            ):
                axes = grid[row][column]
                for peer in (p for p in COLOURS if any(p in m.rows for m in measured.values())):
                    points = [
                        (size, unit * value)
                        for size, m in measured.items()
                        if peer in m.rows and (value := getattr(m.rows[peer], what)) > 0
                    ]
                    axes.plot(*zip(*points, strict=True) if points else ((), ()), "o-", markersize=3,
                              color=COLOURS[peer], label=peer, linewidth=2 if peer == OURS else 1)  # fmt: skip
                    if peer == OURS and points:
                        size, value = points[-1]
                        law = [(s, value * (s / size) ** power) for s, _ in points]
                        axes.plot(*zip(*law, strict=True), ":", color="grey", label=f"power {power}")
                axes.set_xscale("log", base=2)
                axes.set_yscale("log")
                axes.set_xlabel(curve.unit)
                axes.set_ylabel("ms" if what == "seconds" else "MB at most")
                if not row:
                    axes.set_title(name, loc="left")
        grid[0][0].legend(frameon=False)
        _save(figure, path)


def _save(figure: object, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})  # type: ignore[attr-defined]
    plt.close("all")
