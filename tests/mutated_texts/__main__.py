"""The long run: `make fuzz-text`, or `python -m mutated_texts [SEED:NUMBER ...]` with `tests` on the path.

INDEXLANG_FUZZ is the number of texts, INDEXLANG_SEED the seed (printed; a new one each time), INDEXLANG_WORKERS how
many at a time. With SEED:NUMBER only these texts are tried, made small, and shown. The first MOST texts of a kind of
failure are shown. The exit status is 1 if anything failed.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from multiprocessing import get_context
from multiprocessing.connection import wait
from random import Random

from .attempt import Failure, made, tried, work
from .small import shrunk

COUNT, MOST = 100_000, 2
SILENT = 300  # seconds after which a worker that says nothing is ended


def main(arguments: list[str]) -> int:
    """Run, report, and say with the exit status whether all was right."""
    if arguments:
        return max(shown(name) for name in arguments)
    seed = os.environ.get("INDEXLANG_SEED") or secrets.token_hex(3)
    count = int(os.environ.get("INDEXLANG_FUZZ") or COUNT)
    workers = min(int(os.environ.get("INDEXLANG_WORKERS") or os.cpu_count() or 1), count)
    print(f"{count} texts of seed {seed} (INDEXLANG_SEED={seed}), {workers} at a time", flush=True)
    began, kinds, reached = time.monotonic(), Counter[str](), Counter[str]()
    for done, (name, failure, last) in enumerate(_outcomes(seed, count, workers), 1):
        reached[last] += 1
        if failure is not None:
            kinds[failure.signature] += 1
            if kinds[failure.signature] <= MOST:
                print(f"\n# {name}: {failure.stage}, {failure.signature}\n{_quoted(name)}", flush=True)
        if done % 1000 == 0:
            print(f"# {done} texts, {time.monotonic() - began:.0f} s, {kinds.total()} failures", flush=True)
    print(f"\n{count} texts, {time.monotonic() - began:.0f} s, seed {seed}: {kinds.total()} failures")
    print("the last stage that gave more than an error:", ", ".join(f"{n} {s}" for s, n in reached.most_common()))
    for signature, number in kinds.most_common():
        print(f"{number:6} {signature}")
    return 1 if kinds else 0


def shown(name: str) -> int:
    """One text tried, and made small where it fails."""
    text = made(name)
    failure, last = tried(text, Random(name))
    print(f"# {name}: {last if failure is None else failure.stage + ', ' + failure.signature}\n{text.text}")
    if failure is None:
        return 0
    print(f"\n# made small\n{shrunk(name, text, failure).text}\n\n{failure.detail}")
    return 1


def _quoted(name: str) -> str:
    text = made(name).text
    return text if len(text) < 1200 else f"{text[:1200]} ... ({len(text)} characters)"


Outcome = tuple[str, Failure | None, str]


def _outcomes(seed: str, count: int, workers: int):
    """What became of each text; a worker that ends or hangs is one outcome, and another one goes on behind it."""
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
                yield name, Failure("all", signature, signature), "nothing"
                start(k)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
