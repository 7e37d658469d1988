"""`python -m benchmarks`: measures indexlang beside its peers; `overhead`: what a call costs; `cliffs`: equations
beside NumPy by hand; `library`: the standard layers beside PyTorch; `recurrences`: blocks beside PyTorch and a
scalar loop.

Some machines export settings that hold BLAS to older instructions or to one thread, or that keep Python from storing
compiled modules. They would spoil every comparison, so all that measures runs in an environment without them, the same
for all that is compared.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

SETTINGS = (
    "OPENBLAS_",
    "OMP_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "BLIS_",
    "GOTO_",
    "NVPL_",
    "VECLIB_",
    "NUMEXPR_",
    "NPY_",
    "PYTHONDONTWRITEBYTECODE",
)
MEASUREMENTS = ("peers", "overhead", "cliffs", "library", "recurrences")
_CLEANED = "INDEXLANG_BENCHMARK_DROPPED"


def main() -> None:
    """Clean the environment by starting anew, then measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n\n")[0])
    parser.add_argument("measurement", choices=MEASUREMENTS, nargs="?", default="peers")
    parser.add_argument("--rounds", type=int, help="how often each thing is measured, turn by turn")
    parser.add_argument("--only", metavar="A,B", help="families, or words of workloads' names")
    parser.add_argument("--peers", metavar="A,B", help="libraries; torch.compile only where it is named")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of every library")
    parser.add_argument("--busy", action="store_true", help="count the processor's time: on a machine that is shared")
    parser.add_argument("--patience", type=float, metavar="S", help="seconds for a library to get ready")
    parser.add_argument("--quick", action="store_true", help="cliffs: at their first size only; recurrences: small")
    args = parser.parse_args()
    if _CLEANED not in os.environ:
        dropped = sorted(name for name in os.environ if name.startswith(SETTINGS))
        environ = {name: value for name, value in os.environ.items() if name not in dropped}
        environ[_CLEANED] = " ".join(dropped)
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], environ)
    if hasattr(os, "sched_setaffinity"):  # as many processors as threads, for libraries that count processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    names = os.environ[_CLEANED]
    print(f"Settings of the environment dropped for everything measured here: {names or 'none was set'}.")
    if args.measurement == "overhead":
        import_module("benchmarks.overhead").main(args.rounds or 15)
    elif args.measurement in ("cliffs", "library", "recurrences"):
        import_module(f"benchmarks.{args.measurement}").main(args)
    else:
        import_module("benchmarks.run").main(args, names.split())


if __name__ == "__main__":
    main()
