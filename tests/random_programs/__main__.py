"""The long run: `make fuzz`, or `python -m random_programs [SEED:NUMBER ...]` with `tests` on the path.

INDEXLANG_FUZZ is the number of programs, INDEXLANG_SEED the seed (printed; a new one each time), INDEXLANG_WORKERS how
many at a time. With SEED:NUMBER only these programs are tried. Every failing program has a line; the first MOST of a
kind are made small, for INDEXLANG_SHRINK seconds each, and printed as tests. The exit status is 1 if anything failed.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context

from .one import Outcome, attempt, limit_memory, small_test
from .report import HEAD

COUNT, MOST, SECONDS = 10_000, 2, 60


def main(arguments: list[str]) -> int:
    """Run, report, and say with the exit status whether all was right."""
    seed = os.environ.get("INDEXLANG_SEED") or secrets.token_hex(3)
    count = int(os.environ.get("INDEXLANG_FUZZ") or COUNT)
    names = arguments or [f"{seed}:{k}" for k in range(count)]
    workers = min(int(os.environ.get("INDEXLANG_WORKERS") or os.cpu_count() or 1), len(names))
    print(
        f"{len(names)} random programs of seed {seed} (INDEXLANG_SEED={seed}), {workers} at a time\n\n{HEAD}",
        flush=True,
    )
    seconds = float(os.environ.get("INDEXLANG_SHRINK") or SECONDS)
    kinds: Counter[tuple[str, ...]] = Counter()
    programs: Counter[str] = Counter()
    began = time.monotonic()
    for done, outcome in enumerate(outcomes(names, workers), 1):
        programs[outcome.worst] += 1
        kinds.update({f.signature for f in outcome.failures})
        new = [f for f in outcome.failures if kinds[f.signature] <= MOST]
        if outcome.failures:
            shown = "; ".join(f"{f.stage}: {f.kind} {f.where}".strip() for f in outcome.failures)
            print(f"# {outcome.name}: {shown}", flush=True)
        for failure in new[:1] if seconds else ():
            print(f"\n{small_test(outcome.name, failure, seconds)}", flush=True)
        if done % 500 == 0:
            print(f"# {done} programs, {time.monotonic() - began:.0f} s: {_counted(programs)}", flush=True)
    print(f"\n{len(names)} programs, {time.monotonic() - began:.0f} s, seed {seed}: {_counted(programs)}")
    for signature, number in kinds.most_common():
        print(f"{number:6} {', '.join(signature)}")
    return 1 if any(programs[worst] for worst in ("wrong", "crash", "refused", "slow", "text")) else 0


def outcomes(names: list[str], workers: int) -> Iterator[Outcome]:
    if workers == 1:
        limit_memory()
        yield from map(attempt, names)
        return
    with get_context("spawn").Pool(workers, limit_memory) as pool:
        yield from pool.imap_unordered(attempt, names, chunksize=4)


def _counted(programs: Counter[str]) -> str:
    return ", ".join(f"{n} {worst}" for worst, n in programs.most_common())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
