"""Processes, threads, signals and containers: calls are right wherever and whenever they are made."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexlang
from indexlang import collecting, edf, locks, machine, threads
from indexlang.backends.numpy.threads import Pool
from indexlang.calls import function
from indexlang.collecting import uncollected
from indexlang.edf.graphs import layers
from indexlang.locks import Lock
from indexlang.properties import cached_property

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
SHARED = "y[i,j] = exp(x[i,j])*x[i,j] + sin(x[i,j])"  # at 2**20 elements its blocks go to several threads


def in_child(work: Callable[[], bool]) -> bool:
    """Whether the work is done and true in a forked process, which does not wait for ever."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            code = 0 if work() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Meanwhile:
    """A thread that stops in the middle of what it does until the block ends."""

    def __init__(self, work: Callable[[Callable[[], None]], object]) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=work, args=(self.stop,))

    def stop(self) -> None:
        self.begun.set()
        self.go_on.wait(20)

    def __enter__(self) -> None:
        self.thread.start()
        assert self.begun.wait(20)

    def __exit__(self, *details: object) -> None:
        self.go_on.set()
        self.thread.join()


# -- forks -----------------------------------------------------------------------------------------


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_another_thread_holds_a_lock_does_not_wait_for_it() -> None:
    lock = Lock()

    def free() -> bool:
        with lock.held():
            return True

    def holding(stop: Callable[[], None]) -> None:
        with lock.held():
            stop()

    with Meanwhile(holding):
        assert in_child(free)
        assert in_child(lambda: in_child(free))


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_another_thread_compiles_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    f, plan = indexlang.compile("y[i] = 2*x[i]", backend="numpy"), function.BACKENDS["numpy"].compiles
    first = threading.current_thread()

    def compiling(stop: Callable[[], None]) -> None:
        def slow(*args: Any, **settings: Any) -> Any:
            if threading.current_thread() is not first:
                stop()
            return plan(*args, **settings)

        monkeypatch.setitem(function.BACKENDS, "numpy", replace(function.BACKENDS["numpy"], compiles=slow))
        f(x=np.ones(3))

    with Meanwhile(compiling):
        assert in_child(lambda: f(x=np.ones(3)).tolist() == [2, 2, 2])


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_another_thread_finds_a_property_finds_it() -> None:
    class Slow:
        def __init__(self, stop: Callable[[], None]) -> None:
            self.stop = stop

        @cached_property
        def value(self) -> int:
            """The answer."""
            self.stop()
            return 42

    with Meanwhile(lambda stop: Slow(stop).value):
        assert in_child(lambda: Slow(lambda: None).value == 42)
    slow = Slow(lambda: None)
    assert slow.value == 42
    assert vars(slow)["value"] == 42
    assert Slow.value.__doc__ == "The answer."


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_process_forked_while_the_collector_waits_has_one_that_runs() -> None:
    with Meanwhile(uncollected(lambda stop: stop())):
        assert not gc.isenabled()
        assert in_child(gc.isenabled)
    assert gc.isenabled()
    gc.disable()  # by somebody else
    try:
        assert in_child(lambda: not gc.isenabled())
    finally:
        gc.enable()
    assert not collecting._quiet


@forks
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    pool = Pool()
    assert pool.submit(pow, 3, 2).result() == 9

    def elsewhere() -> bool:
        done = threading.Event()
        pool.submit(done.set)
        return done.wait(10)

    assert elsewhere()
    assert in_child(elsewhere)


def doubled(f: indexlang.Function) -> list[float]:
    """What another process computes."""
    found: list[float] = f(x=np.ones(3)).tolist()
    return found


def test_a_function_goes_to_a_process_that_is_spawned() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        assert processes.apply(doubled, (indexlang.compile("y[i] = 2*x[i]"),)) == [2, 2, 2]


def test_no_module_has_locks_of_its_own() -> None:
    package = Path(indexlang.__file__).parent
    allowed = {package / "locks.py", package / "backends" / "numpy" / "threads.py"}
    other = re.compile(r"from functools import .*\bcached_property|threading\.R?Lock\(")
    found = [p.name for p in package.rglob("*.py") if p not in allowed and other.search(p.read_text(encoding="utf-8"))]
    assert not found, "use indexlang/locks and indexlang/properties: they know of forks"


# -- threads ---------------------------------------------------------------------------------------


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    task = Pool().submit(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        task.result()


def test_what_no_thread_begins_is_done_by_who_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        where = pool.submit(threading.current_thread)
        assert where.result() is threading.current_thread()
        assert pool.submit(int, "7").cancel()
    assert pool.submit(int, "7").result() == 7  # there may be threads again


def test_threads_that_are_allowed_later_are_started() -> None:
    pool = Pool()
    try:
        threads.set_num_threads(2)
        for number in (2, 4, 3, 4):
            threads.set_num_threads(number)
            gate = threading.Barrier(number)  # passed when so many run at a time, the caller among them
            tasks = [pool.submit(gate.wait, 20) for _ in range(number - 1)]
            gate.wait(20)
            assert sorted(task.result() for task in tasks) != []
    finally:
        threads.set_num_threads(None)


def test_a_call_is_made_once() -> None:
    pool, made = Pool(), []
    task = pool.submit(made.append, 1)
    task.result()
    assert made == [1]
    assert not task.cancel()
    task.run()
    assert made == [1]


def run(script: str, **settings: str) -> str:
    """What a process of its own prints."""
    given = {**os.environ, "INDEXLANG_THREADS": "3", **settings}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


CALLS = f"""
    import atexit, threading
    import numpy as np
    import indexlang

    f = indexlang.compile({SHARED!r})
    x = np.linspace(-1, 1, 1 << 20).reshape(1024, 1024)
    expected = np.exp(x) * x + np.sin(x)

    def call():
        y, pullback = f.vjp(x=x)
        slope = pullback(np.ones_like(x))["x"]
        right = np.allclose(y, expected) and np.allclose(slope, np.exp(x) * (1 + x) + np.cos(x))
        print("right" if right else "wrong")
"""


@pytest.mark.parametrize("before", ["", "call()"])
def test_calls_are_made_at_exit_and_in_threads_that_outlive_the_main_one(before: str) -> None:
    late = """
    def late():
        threading.main_thread().join()
        call()

    threading.Thread(target=late).start()
    atexit.register(call)
    """
    assert run(f"{CALLS}\n    {before}\n{late}").split() == ["right"] * (2 + bool(before))


def test_emitted_code_runs_at_exit(tmp_path: Path) -> None:
    path = tmp_path / "emitted.py"
    path.write_text(indexlang.compile(SHARED).emit(x=(1024, 1024)))
    assert "share(" in path.read_text()
    script = f"""
        import atexit, sys
        import numpy as np
        sys.path.insert(0, {str(tmp_path)!r})
        import emitted
        x = np.ones((1024, 1024), np.float32)
        atexit.register(lambda: print(np.allclose(emitted.run(x)[0], np.exp(1) + np.sin(1))))
        {{before}}
    """
    for before in ("", "emitted.run(x)"):
        assert run(script.format(before=before)).split() == ["True"]


def test_a_thread_of_128_kib_is_enough_for_the_deepest_text() -> None:
    script = """
        import threading
        import numpy as np
        import indexlang
        from indexlang import edf

        def work():
            text = "y[i] = " + "sin(" * 115 + "x[i]" + ")" * 115
            y, pullback = indexlang.compile(text).vjp(x=np.ones(3))
            pullback(y)
            with edf.Graph() as g:
                x, t = edf.Input(), edf.Input()
                loss = edf.LogLoss(edf.Softmax(edf.Conv(edf.ConvParams(1, 3, 3), x)), t)
            for deep in ("(" * 9999 + "1", "-" * 9999 + "x[i]"):
                try:
                    indexlang.compile("y[i] = " + deep)
                except indexlang.IndexLangError:
                    print("refused")
            print("done")

        threading.stack_size(128 * 1024)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """
    assert run(script).split() == ["refused", "refused", "done"]


# -- signals ---------------------------------------------------------------------------------------


def test_a_handler_of_a_signal_makes_a_node_while_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    found, resolve = [], layers.resolve
    text = "layer halved(x) -> y:\n    y[...] = x[...] / 2\n"

    def node() -> None:
        with edf.Graph():
            edf.node(text)(edf.Input())

    def handle(number: int, frame: object) -> None:
        monkeypatch.setattr(layers, "resolve", resolve)
        node()
        found.append(number)

    def interrupted(*args: Any, **settings: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return resolve(*args, **settings)

    layers._from_text.cache_clear()
    monkeypatch.setattr(layers, "resolve", interrupted)
    before = signal.signal(signal.SIGINT, handle)
    try:
        watched = threading.Thread(target=lambda: None)  # the handler runs in the main thread, here
        watched.start()
        node()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [signal.SIGINT]


def test_a_handler_of_a_signal_calls_a_function_while_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    f, row, found = indexlang.compile("y[i] = 3*x[i]", backend="numpy"), function.BACKENDS["numpy"], []

    def handle(number: int, frame: object) -> None:
        monkeypatch.setitem(function.BACKENDS, "numpy", row)
        found.append(f(x=np.ones(2)).tolist())

    def interrupted(*args: Any, **settings: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return row.compiles(*args, **settings)

    monkeypatch.setitem(function.BACKENDS, "numpy", replace(row, compiles=interrupted))
    before = signal.signal(signal.SIGINT, handle)
    try:
        assert f(x=np.ones(2)).tolist() == [3, 3]
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [[3, 3]]


def test_a_lock_keeps_other_threads_out() -> None:
    lock, tried = locks.Lock(), []

    def holding(stop: Callable[[], None]) -> None:
        with lock.held(), lock.held():
            stop()

    def trying() -> None:
        with lock.held():
            tried.append(True)

    with Meanwhile(holding):
        other = threading.Thread(target=trying)
        other.start()
        assert not tried
    other.join()
    assert tried == [True]


# -- containers ------------------------------------------------------------------------------------

GIB = 1 << 30
V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"
V1 = "35 31 0:32 {root} /sys/fs/cgroup/{name} rw shared:9 - cgroup cgroup rw,{name}\n"
V1_ROWS = V1.replace("{name}", "memory") + V1.replace("{name}", "cpu,cpuacct")


def tree(top: Path, cgroup: str, mounts: str, files: Mapping[str, str]) -> Path:
    """A system's files as far as limits are concerned."""
    given = {"proc/self/cgroup": cgroup, "proc/self/mountinfo": mounts, "proc/meminfo": "MemAvailable: 8388608 kB\n"}
    for name, text in {**given, **files}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


MEMORY: dict[str, tuple[str, str, Mapping[str, str], int]] = {
    "no container": ("0::/user.slice\n", V2.format(root="/"), {}, 8 * GIB),
    "version 2, in a container": (
        "0::/\n", V2.format(root="/"),
        {"sys/fs/cgroup/memory.max": f"{GIB}\n", "sys/fs/cgroup/memory.current": "1000\n"}, GIB - 1000,
    ),
    "what holds files is free": (
        "0::/\n", V2.format(root="/"),
        {"sys/fs/cgroup/memory.max": "5000", "sys/fs/cgroup/memory.current": "4900",
         "sys/fs/cgroup/memory.stat": "anon 100\ninactive_file 3000\n"}, 3100,
    ),
    "a limit above it": (
        "0::/a.slice/b.scope\n", V2.format(root="/"),
        {"sys/fs/cgroup/a.slice/memory.max": "7000", "sys/fs/cgroup/a.slice/memory.current": "2000",
         "sys/fs/cgroup/a.slice/b.scope/memory.max": "max", "sys/fs/cgroup/a.slice/b.scope/memory.current": "1"}, 5000,
    ),
    "more is used than may be": (
        "0::/\n", V2.format(root="/"),
        {"sys/fs/cgroup/memory.max": "5000", "sys/fs/cgroup/memory.current": "6000"}, 0,
    ),
    "version 1": (
        "4:memory:/docker/12\n1:cpu,cpuacct:/docker/12\n", V1_ROWS.format(root="/"),
        {"sys/fs/cgroup/memory/docker/12/memory.limit_in_bytes": "9000\n",
         "sys/fs/cgroup/memory/docker/12/memory.usage_in_bytes": "4000\n",
         "sys/fs/cgroup/memory/docker/12/memory.stat": "inactive_file 1\ntotal_inactive_file 500\n",
         "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
         "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n"}, 5500,
    ),
    "version 1, of which the container sees its own": (
        "4:memory:/docker/12\n", V1_ROWS.format(root="/docker/12"),
        {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9000\n",
         "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n"}, 5000,
    ),
    "nonsense": (
        "0::/\nnonsense\n::\n", "1 2 3\n" + V2.format(root="/"),
        {"sys/fs/cgroup/memory.max": "much", "sys/fs/cgroup/memory.current": "\xff", "proc/meminfo": "none"}, -1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MEMORY)
def test_the_memory_that_is_left(tmp_path: Path, case: str) -> None:
    cgroup, mounts, given, expected = MEMORY[case]
    assert machine.memory(tree(tmp_path, cgroup, mounts, given)) == (None if expected < 0 else expected)


PROCESSORS: dict[str, tuple[str, str, Mapping[str, str], float | None]] = {
    "version 2": ("0::/\n", V2.format(root="/"), {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
    "no limit": ("0::/\n", V2.format(root="/"), {"sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
    "nonsense": ("0::/\n", V2.format(root="/"), {"sys/fs/cgroup/cpu.max": "² 0\n"}, None),
    "the least of several": (
        "0::/a/b\n", V2.format(root="/"),
        {"sys/fs/cgroup/a/cpu.max": "200000 100000", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, 2,
    ),
    "version 1": (
        "1:cpu,cpuacct:/x\n", V1_ROWS.format(root="/"),
        {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "50000\n",
         "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}, 0.5,
    ),
    "version 1 without a limit": (
        "1:cpu,cpuacct:/x\n", V1_ROWS.format(root="/"),
        {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "-1\n",
         "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000\n"}, None,
    ),
    "a place with a space": (
        "0::/\n", r"30 23 0:26 / /sys/fs\040group rw - cgroup2 cgroup2 rw",
        {"sys/fs group/cpu.max": "300000 100000"}, 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PROCESSORS)
def test_the_processors_that_a_container_may_use(tmp_path: Path, case: str) -> None:
    cgroup, mounts, given, expected = PROCESSORS[case]
    assert machine.quota(tree(tmp_path, cgroup, mounts, given)) == expected


def test_a_program_that_a_container_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexlang.backends.numpy.load.memory", lambda: 100 << 20)
    f = indexlang.compile("y[i,j] = x[i] + x[j]")
    with pytest.raises(indexlang.ShapeError, match=r"needed: .*\n  available: 10[0-9]"):
        f.plan(x=(10_000,))
    assert f(x=np.ones(10)).sum() == 200


@pytest.mark.parametrize("said", ["²", "٣", "0", "-1", "many"])
def test_what_others_mean_by_a_number_of_threads_is_theirs(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    monkeypatch.delenv("INDEXLANG_THREADS", raising=False)
    monkeypatch.setattr(threads, "usable", lambda: 6)
    monkeypatch.setattr(threads, "_known", {})
    assert threads.num_threads() == 6
