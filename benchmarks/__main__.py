"""`python -m benchmarks overhead`: starts the measurements in a process without settings of BLAS or threads.

Some machines export settings that hold BLAS to older instructions or to one thread. They would spoil every
comparison, so the measuring process gets an environment without them, the same for all that is compared.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

SETTINGS = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "BLIS_", "GOTO_", "NVPL_", "VECLIB_", "NUMEXPR_", "NPY_")
MEASUREMENTS = ("overhead",)
_CLEANED = "INDEXLANG_BENCHMARK_DROPPED"


def main() -> None:
    """Clean the environment by starting anew, then measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("--rounds", type=int, default=15, help="how often each thing is measured, turn by turn")
    args = parser.parse_args()
    if _CLEANED not in os.environ:
        dropped = sorted(name for name in os.environ if name.startswith(SETTINGS))
        environ = {name: value for name, value in os.environ.items() if name not in dropped}
        environ[_CLEANED] = " ".join(dropped)
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], environ)
    dropped_names = os.environ[_CLEANED] or "none was set"
    print(f"Settings of BLAS and threads dropped for everything measured here: {dropped_names}.")
    import_module(f"benchmarks.{args.measurement}").main(args.rounds)


main()
