"""The long run: `make fuzz-native`, or `python -m native_fuzz [SEED:NUMBER ...]` with `tests` on the path.

INDEXLANG_FUZZ is the number of programs, INDEXLANG_SEED the seed (printed; a new one each time), INDEXLANG_WORKERS how
many at a time. With SEED:NUMBER only these are tried, and shown. A crash of a process is a failure of its program.
The exit status is 1 if anything failed.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import wait

from .attempt import Failure, attempt, made, work

COUNT, MOST = 2_000, 2
SILENT = 300  # seconds after which a worker that says nothing is ended


def main(arguments: list[str]) -> int:
    """Run, report, and say with the exit status whether all was right."""
    if arguments:
        return max(shown(name) for name in arguments)
    seed = os.environ.get("INDEXLANG_SEED") or secrets.token_hex(3)
    count = int(os.environ.get("INDEXLANG_FUZZ") or COUNT)
    workers = min(int(os.environ.get("INDEXLANG_WORKERS") or os.cpu_count() or 1), count)
    print(f"{count} programs of seed {seed} (INDEXLANG_SEED={seed}), {workers} at a time", flush=True)
    began, kinds = time.monotonic(), Counter[str]()
    for done, (name, failures) in enumerate(_outcomes(seed, count, workers), 1):
        for failure in failures:
            kinds[failure.signature] += 1
            if kinds[failure.signature] <= MOST:
                print(f"\n# {name}: {failure.stage}, {failure.signature}\n{failure.detail[-600:]}", flush=True)
        if done % 100 == 0:
            print(f"# {done} programs, {time.monotonic() - began:.0f} s, {kinds.total()} failures", flush=True)
    print(f"\n{count} programs, {time.monotonic() - began:.0f} s, seed {seed}: {kinds.total()} failures")
    for signature, number in kinds.most_common():
        print(f"{number:6} {signature}")
    return 1 if kinds else 0


def shown(name: str) -> int:
    """One program, tried."""
    sample = made(name)
    print(f"# {name}\n{sample.text}\n{sample.inputs}\n{sample.limits} {sample.seed}")
    failures = attempt(name)
    for failure in failures:
        print(f"\n# {failure.stage}, {failure.signature}\n{failure.detail}")
    return 1 if failures else 0


Outcome = tuple[str, list[Failure]]


def _outcomes(seed: str, count: int, workers: int) -> Iterator[Outcome]:
    """What became of each program; a worker that ends or hangs is one outcome, and another one goes on behind it."""
    context = get_context("spawn")
    shares = {k: list(range(k, count, workers)) for k in range(workers)}
    running = {}

    def start(k: int) -> None:
        if shares[k]:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=work, args=(theirs, seed, shares[k]), daemon=True)
            process.start()
            theirs.close()
            running[ours] = (k, process, time.monotonic())

    for k in range(workers):
        start(k)
    while running:
        ready = wait(list(running), timeout=5)
        for pipe in [*running]:
            k, process, heard = running[pipe]
            try:
                if pipe in ready:
                    outcome = pipe.recv()
                    running[pipe] = (k, process, time.monotonic())
                    shares[k].pop(0)
                    yield outcome
                    continue
                if time.monotonic() - heard < SILENT:
                    continue
                signature = "no answer"
            except EOFError:
                signature = ""
            process.kill()
            process.join()
            del running[pipe]
            if shares[k]:
                name = f"{seed}:{shares[k].pop(0)}"
                signature = signature or f"the process ended with {process.exitcode}"
                yield name, [Failure("all", signature, signature)]
                start(k)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
