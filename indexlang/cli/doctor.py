"""What the machine has, and what holds it back.

In: nothing; `look` reads the machine, measures two rates, and changes nothing. Out: a `Machine`, and `advice` about it.
The one rule: advice is a pure function of a description, so its test is a table.

The measured rates count operations of a product of float32 matrices, and bytes read and written by a copy.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.engines import BACKENDS, usual
from ..backends.native import objects
from ..backends.native.objects import Kept
from ..errors import IndexLangError, MeaningError, shown
from ..machine import processors, quota, within
from ..plan.record import amount
from ..threads import num_threads

# Instruction sets from the least to the greatest, each with the CPU flags that it takes.
LEVELS: tuple[tuple[str, frozenset[str]], ...] = (
    ("SSE", frozenset()),
    ("AVX", frozenset({"avx"})),
    ("AVX2", frozenset({"avx2", "fma"})),
    ("AVX-512", frozenset({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"})),
)

# The names of OpenBLAS's sets of kernels on x86, by the instructions that they use. Names of other processors are not
# here: there is nothing to compare.
KERNELS: Mapping[str, str] = {
    **dict.fromkeys(("Prescott", "Core2", "Penryn", "Dunnington", "Nehalem", "Atom", "Opteron", "Barcelona"), "SSE"),
    **dict.fromkeys(("Bobcat", "Katmai", "Coppermine", "Northwood", "Banias", "Athlon"), "SSE"),
    **dict.fromkeys(("Sandybridge", "Bulldozer", "Piledriver", "Steamroller"), "AVX"),
    **dict.fromkeys(("Haswell", "Zen", "Excavator"), "AVX2"),
    **dict.fromkeys(("SkylakeX", "Cooperlake", "SapphireRapids"), "AVX-512"),
}

# Settings that decide how many threads a BLAS starts, the first one that is set counts.
THREADS: Mapping[str, tuple[str, ...]] = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
    "accelerate": ("VECLIB_MAXIMUM_THREADS",),
}

# Settings that hold a BLAS, or NumPy, to older instructions.
INSTRUCTIONS: Mapping[str, tuple[str, ...]] = {
    "openblas": ("OPENBLAS_CORETYPE",),
    "mkl": ("MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR"),
    "blis": ("BLIS_ARCH_TYPE",),
}

SLOW_COPY = 4e9  # bytes read and written in a second below which something else must be using the memory


@dataclass(frozen=True)
class Machine:
    """What `look` found. Unknown is None, an empty set of flags, or a rate of 0."""

    processors: int
    quota: float | None = None  # of processors, where a container limits them
    flags: frozenset[str] = frozenset()
    blas: str = "unknown"
    version: str = ""
    kernels: str | None = None
    threads: int | None = None
    beside: int | None = None  # threads in which blocks of chains run
    load: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    sgemm: float = 0.0
    copy: float = 0.0
    backend: str = ""  # what runs Functions that name none
    native: str | None = None  # what makes native code, and for which machine
    alone: str = ""  # why native code runs in fewer threads than it may
    cache: str = ""  # where that code is kept, and how much
    jax: str | None = None  # the version of jax, and whether it has numbers of 64 bits; nothing of it is imported
    refused: Sequence[tuple[str, str]] = ()  # settings of ours that no program accepts, and the ways out

    @property
    def level(self) -> str | None:
        """The greatest instruction set that the processor has; None where its flags are not known."""
        return next((name for name, needed in reversed(LEVELS) if needed <= self.flags), None) if self.flags else None


@dataclass(frozen=True)
class Advice:
    """Something that holds the machine back, and the way out."""

    code: str
    what: str
    way_out: str


# -- decisions -----------------------------------------------------------------------------------------------


def advice(machine: Machine) -> tuple[Advice, ...]:
    """All that holds this machine back."""
    refused = [Advice("refused-setting", what, way) for what, way in machine.refused]
    return (*refused, *_blas(machine), *_instructions(machine), *_threads(machine), *_neighbours(machine))


def _blas(machine: Machine) -> Sequence[Advice]:
    if machine.blas in ("none", "lapack_lite", "blas", "cblas", "netlib"):
        what = f"NumPy multiplies matrices with {machine.blas}, which is not a tuned BLAS"
        return [Advice("no-blas", what, "install NumPy's wheel, which has OpenBLAS: pip install numpy")]
    return []


def _instructions(machine: Machine) -> Sequence[Advice]:
    """Kernels for older processors than this one, and settings that say so."""
    found = []
    have, uses = machine.level, KERNELS.get(_word(machine.kernels))
    below = have is not None and uses is not None and _rank(uses) < _rank(have)
    for name in INSTRUCTIONS.get(machine.blas, ()):
        value = machine.environment.get(name)
        if value is None or have is None or (machine.blas == "openblas" and not below and _known(value, have)):
            continue
        what = f"{name}={value} is set: {machine.blas} uses {_kernels(machine, value)}, the processor has {have}"
        return [Advice("old-instructions", what, f"unset {name} before Python starts"), *_numpy(machine)]
    if below:
        what = f"{machine.blas} uses {_kernels(machine, machine.kernels or '')}, the processor has {have}"
        found.append(Advice("old-instructions", what, "install a newer NumPy, whose OpenBLAS knows the processor"))
    return [*found, *_numpy(machine)]


def _numpy(machine: Machine) -> Sequence[Advice]:
    value = machine.environment.get("NPY_DISABLE_CPU_FEATURES")
    if not value:
        return []
    what = f"NPY_DISABLE_CPU_FEATURES={value} is set: NumPy's elementwise loops do without"
    return [Advice("numpy-features", what, "unset NPY_DISABLE_CPU_FEATURES before Python starts")]


def _threads(machine: Machine) -> Sequence[Advice]:
    """Fewer or more threads than processors."""
    there = within(machine.processors, machine.quota)
    if machine.threads is None or machine.threads == there:
        return []
    settings = [n for n in THREADS.get(machine.blas, ("OMP_NUM_THREADS",)) if machine.environment.get(n)]
    said = f"{settings[0]}={machine.environment[settings[0]]} is set: " if settings else ""
    what = f"{said}{machine.blas} has {_count(machine.threads, 'thread')} for {_count(there, 'processor')}"
    if machine.threads < there:
        way = f"unset {settings[0]}, or set it to {there}" if settings else "set OMP_NUM_THREADS to a greater number"
        return [Advice("few-threads", what, f"{way}, before Python starts")]
    name = settings[0] if settings else THREADS.get(machine.blas, ("OMP_NUM_THREADS",))[0]
    return [Advice("many-threads", what, f"set {name}={there} before Python starts: threads too many only wait")]


def _neighbours(machine: Machine) -> Sequence[Advice]:
    """Others that use the processors or the memory meanwhile."""
    if machine.load is not None and machine.load > 0.5 * machine.processors:
        what = f"other programs are busy: a load of {machine.load:.1f} on {_count(machine.processors, 'processor')}"
        return [Advice("busy", what, "measured rates count only on a machine that is idle")]
    if 0 < machine.copy < SLOW_COPY:
        what = f"copying reaches {machine.copy / 1e9:.1f} GB/s"
        return [Advice("slow-memory", what, "look for other programs, or a virtual machine that shares its memory")]
    return []


def _rank(level: str) -> int:
    return [name for name, _ in LEVELS].index(level)


def _word(kernels: str | None) -> str:
    """The name as the table has it, whatever its case."""
    return next((name for name in KERNELS if kernels and name.lower() == kernels.lower()), "")


def _known(value: str, have: str) -> bool:
    """Whether a setting names kernels that use all that the processor has."""
    uses = KERNELS.get(_word(value))
    return uses is not None and _rank(uses) >= _rank(have)


def _kernels(machine: Machine, name: str) -> str:
    uses = KERNELS.get(_word(machine.kernels or name))
    return f"its {machine.kernels or name} kernels" + (f" ({uses})" if uses else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# -- looking -------------------------------------------------------------------------------------------------


def look(seconds: float = 0.3) -> Machine:
    """This machine, its rates measured for about so many seconds each; the environment is read, never changed."""
    load = _load()
    a, b = np.ones((768, 768), np.float32), np.ones((768, 768), np.float32)
    out = np.empty_like(a)
    sgemm = 2 * 768**3 / _best(lambda: np.matmul(a, b, out=out), seconds)
    source = np.ones(1 << 24, np.float32)
    target = np.empty_like(source)
    copy = 2 * source.nbytes / _best(lambda: np.copyto(target, source), seconds)
    blas = _pool()
    settings = {name for names in (*THREADS.values(), *INSTRUCTIONS.values(), ("NPY_DISABLE_CPU_FEATURES",))
                for name in names}  # fmt: skip
    return Machine(
        processors=processors(),
        quota=quota(),
        flags=_flags(),
        blas=blas.get("blas", "unknown"),
        version=blas.get("version", ""),
        kernels=blas.get("kernels"),
        threads=blas.get("threads"),
        beside=beside(),
        load=load,
        environment={name: os.environ[name] for name in sorted(settings) if name in os.environ},
        sgemm=sgemm,
        copy=copy,
        backend=backend(),
        native=native(),
        alone=alone(),
        cache=cache(objects.kept()),
        jax=jax(),
        refused=refused(),
    )


def backend() -> str:
    """What runs Functions that name no backend, and whether the environment says so."""
    try:
        found = usual()
    except MeaningError as error:
        return f"none: {error.problems[0].rule}"
    named = os.environ.get("INDEXLANG_BACKEND", "").strip() not in ("", "auto")
    return f"{found}, {'as INDEXLANG_BACKEND says' if named else 'where none is named'}"


def beside() -> int | None:
    """How many threads compute; None where the environment says what is no number."""
    try:
        return num_threads()
    except IndexLangError:
        return None


def refused() -> tuple[tuple[str, str], ...]:
    """What the environment says that every program refuses: the settings, and the ways out."""
    found = []
    for ask in (usual, num_threads):
        try:
            ask()
        except IndexLangError as error:
            found += [(": ".join([p.rule, *p.values]), p.way_out or "unset it") for p in error.problems]
    return tuple(found)


def native() -> str | None:
    """What makes native code, and for which machine; None where it is not installed."""
    if BACKENDS["native"].missing:
        return None
    from ..backends.native import engine

    if not engine.available():
        return f"{engine.version()} makes no code for this machine, or may not"
    target = engine.host()
    fused = ", multiply-add" if target.fused else ""
    caches = f"caches of {target.l1 >> 10} and {target.l2 >> 10} KiB"
    vectors = f"{target.lanes(4)} float32 in each of {target.registers} vectors{fused}"
    return f"{engine.version()} for {target.cpu}: {vectors}, {caches}"


def jax() -> str | None:
    """The version of jax that is installed, and what the environment says about numbers of 64 bits."""
    if BACKENDS["jax"].missing:
        return None
    try:
        found = version("jax")
    except PackageNotFoundError:
        found = "of an unknown version"
    wide = os.environ.get("JAX_ENABLE_X64", "").lower() in ("1", "true", "yes", "on", "t", "y")
    return f"jax {found}, {'with' if wide else 'without'} numbers of 64 bits where nothing else is said"


def alone() -> str:
    """Why native code runs in fewer threads than there may be."""
    if BACKENDS["native"].missing:
        return ""
    from ..backends.native import engine, pool

    return pool.reason() if engine.available() and beside() is not None else ""


def cache(kept: Kept) -> str:
    """Where compiled code is kept, and how much."""
    if kept.folder == "off":
        return "off: compiled code is not kept"
    if kept.refused:
        return f"{shown(kept.folder)} is not used, as it is no folder of yours alone"
    return f"{shown(kept.folder)}: {_count(kept.files, 'file')}, {amount(kept.size, 'B')}"


def _best(call: Any, seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        stop = time.perf_counter()
        best = min(best, stop - start)
        if stop >= end:
            return best


def _flags(file: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the processor can, where the system says it."""
    try:
        text = file.read_text()
    except OSError:
        return frozenset()
    rows = (line.partition(":") for line in text.splitlines())
    return next((frozenset(words.split()) for name, _, words in rows if name.strip() == "flags"), frozenset())


def _load() -> float | None:
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def _pool() -> dict[str, Any]:
    """NumPy's BLAS: by threadpoolctl what was loaded, else by NumPy what it was built with."""
    before = dict(os.environ)
    try:
        from threadpoolctl import threadpool_info  # its import sets a variable

        for name in set(os.environ) - set(before):
            del os.environ[name]
    except ImportError:
        config: Any = np.show_config(mode="dicts")
        built = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
        name = str(built.get("name", "unknown")).lower()
        known = next((blas for blas in (*THREADS, "none") if blas in name), name)
        return {"blas": known, "version": str(built.get("version", ""))}
    pools = [p for p in threadpool_info() if p.get("user_api") == "blas"]
    ours = [p for p in pools if "numpy" in str(p.get("filepath", "")).lower()] or pools
    if not ours:
        return {}
    pool = ours[0]
    found = {"blas": pool["internal_api"], "version": pool.get("version") or "", "threads": pool["num_threads"]}
    return {**found, "kernels": pool.get("architecture")}


# -- text ----------------------------------------------------------------------------------------------------


def text(machine: Machine) -> str:
    """The machine and the advice, for a person."""
    level = f", {machine.level}" if machine.level else ""
    quota = "" if machine.quota is None else f", {machine.quota:g} of them by the container's limit"
    if machine.kernels:
        uses = KERNELS.get(_word(machine.kernels))
        kernels = f"{machine.kernels}{f' ({uses})' if uses else ''}"
    else:
        kernels = "unknown; threadpoolctl tells: pip install threadpoolctl"
    rows = [
        ("processors", f"{machine.processors}, {platform.machine()}{level}{quota}"),
        ("BLAS", f"{machine.blas} {machine.version}".strip()),
        ("kernels", kernels),
        ("threads", "unknown" if machine.threads is None else str(machine.threads)),
        ("blocks", "unknown" if machine.beside is None else f"in {_count(machine.beside, 'thread')}, as native code"),
        ("sgemm", f"{machine.sgemm / 1e9:.0f} GF/s"),
        ("copy", f"{machine.copy / 1e9:.1f} GB/s, read and written, by one thread"),
        ("backend", machine.backend or "unknown"),
        ("NumPy", np.__version__),
        ("native", machine.native or "not installed; it is an extra: pip install 'indexlang[native]'"),
        *([("", machine.alone)] if machine.alone else []),
        *([("cache", machine.cache)] if machine.cache else []),
        ("jax", machine.jax or "not installed; it is an extra: pip install 'indexlang[jax]'"),
        *(("environment", f"{name}={value}") for name, value in machine.environment.items()),
    ]
    lines = [f"{name:<16} {value}" for name, value in rows]
    for found in advice(machine):
        lines += ["", f"{found.code}: {found.what}", f"    {found.way_out}"]
    if not advice(machine):
        lines += ["", "Nothing that we know of holds this machine back."]
    return "\n".join(lines)
