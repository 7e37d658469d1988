"""The pool of threads as LLVM IR: regions of independent items, the caller among those who run them.

A region is one row of a table: a function, its array of pointers, and how many items there are. The ticket is one word:

    bits 0..31   items that nobody has claimed yet
    bits 32..42  limit: threads with a smaller slot may claim (the caller's slot is 0)
    bits 43..63  epoch: counts regions, so that the upper half differs from what a sleeping thread saw

A thread claims items by compare-and-swap of the whole ticket, and reads what there is to do after that: the region
cannot end before its claimed items are done, thus whoever claims has the right region, however late it comes. The
caller claims like the others, then waits for the count of finished items: threads that sleep, or that do not exist (as
in a process that was forked), delay nothing but speed.

A row is 8 words: function, pointers, items, flags, how many pointers, offsets, refusal, 0. The refusal is where the
pointer to a truth value is that says whether the row refuses to go on, if it may. Where `offsets` is not null some
of its arrays are workspaces: each thread has a slot, copies the pointers to its beginning, and puts slot + offset for
those with an offset that is not negative. A context is 8 words: busy, rows, pointers, slots, bytes of a slot, how many
slots, next, 0.

In: which system it is. Out: text. The one rule: what a thread does depends on the ticket that it claimed from, and on
nothing else that may change meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from .region_ir import NONE, REGION, ROWS, STATE
from .thread_ir import BY_FUTEX, CONDITION, THREADS

MOST = 1024  # threads
ITEMS = 2**32 - 1  # that one region can have
SPINS = 20000  # pauses before a thread sleeps
SHARED, WAKE, REFUSES = 1, 2, 4  # flags of a row: others may help, and are woken for it; it may refuse to go on


@dataclass(frozen=True)
class System:
    """How threads sleep: by `futex`, by a `condition` of pthreads, or not at all (`none`: there are no threads).

    `futex` is the number of that system call; `block` and `restore` are what `pthread_sigmask` wants, `blocked` are the
    signals' bits: all but those that a fault raises, as the others are Python's affair, and go to its threads.
    """

    sleep: str
    pause: str = ""
    futex: int = 0
    block: int = 0
    restore: int = 2
    blocked: int = ~0b100_1100_1000  # SIGILL, SIGBUS, SIGFPE, SIGSEGV


FUTEX = {"x86_64": 202, "amd64": 202, "aarch64": 98, "arm64": 98, "riscv64": 98, "ppc64le": 221}
_X86, _ARM = "call void @llvm.x86.sse2.pause()", "call void @llvm.aarch64.isb(i32 15)"
PAUSES = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


def system(platform: str, machine: str, byteorder: str, pointer: int = 8) -> System:
    """What there is on a machine: `sys.platform`, `platform.machine()`, `sys.byteorder`, the bytes of a pointer."""
    machine = machine.lower()
    pause = PAUSES.get(machine, "")
    if byteorder != "little" or pointer != 8:
        return System("none")
    if platform == "linux" and machine in FUTEX:
        return System("futex", pause, FUTEX[machine])
    if platform == "linux":
        return System("condition", pause)
    if platform == "darwin":
        return System("condition", pause, 0, 1, 3, ~0b110_1000_1000)
    return System("none")


def symbols(of: System) -> tuple[str, ...]:
    """The functions of the system that the text calls."""
    always = ("pthread_create", "pthread_detach", "pthread_sigmask", "sched_yield")
    mutex = tuple(f"pthread_mutex_{verb}" for verb in ("init", "lock", "unlock"))
    condition = tuple(f"pthread_cond_{verb}" for verb in ("init", "wait", "broadcast"))
    return {"none": (), "futex": (*always, "syscall"), "condition": (*always, *mutex, *condition)}[of.sleep]


def text(of: System) -> str:
    """The whole module. It defines `pool_run(context, rows)`, `pool_reset()`, and the words `pool_state`.

    `pool_run` gives 1, or 2 where a row refused to go on.
    """
    if of.sleep == "none":
        return STATE + ROWS.replace("call void @shared(", "call void @alone(") + NONE
    first = "call void @renew()" if of.sleep == "condition" else ""
    sleeping = CONDITION if of.sleep == "condition" else Template(BY_FUTEX).substitute(number=of.futex)
    masks = {"block": of.block, "restore": of.restore, "blocked": of.blocked}
    threads = Template(THREADS).substitute(masks, pause=of.pause, spins=SPINS, renew=first)
    return STATE + ROWS + REGION + threads + sleeping
