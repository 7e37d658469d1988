"""Compiled nests run in order, each item once, by any number of threads, from threads, forks and at exit of Python."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend is made with llvmlite")

from native_counting import check, check_own, kernels, nest, owns, stacks, turns

from indexlang import threads
from indexlang.backends.native import pool, runner, words
from indexlang.backends.native.emit import module
from indexlang.backends.native.engine import compiled, host
from indexlang.backends.native.nest import Apply, Array, Form, Literal, Nest, Read, Set, Type, Write, form
from indexlang.backends.native.pool_ir import PAUSES, System, symbols, system
from indexlang.backends.native.quick import quick
from indexlang.backends.native.runner import Argument, Constant, Room, Runner, Step
from indexlang.errors import IndexLangError

HERE = pool._here()
KINDS = {"futex": ("futex", "condition", "none"), "condition": ("condition", "none"), "none": ("none",)}[HERE.sleep]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
pooled = pytest.mark.skipif(HERE.sleep == "none", reason="there is no pool of threads on this system")
plain = pytest.mark.skipif(not words.has_plain_objects(), reason="this Python has another layout of objects")
linux = pytest.mark.skipif(sys.platform != "linux", reason="it reads what Linux tells of a process")


@pytest.fixture(autouse=True)
def _number() -> Iterator[None]:
    yield
    threads.set_num_threads(None)


@pytest.fixture(scope="module")
def code() -> Any:
    return kernels()


@cache
def pool_of(kind: str) -> Any:
    """The pool as this system has it, or as another one."""
    if kind == HERE.sleep:
        return pool.native()
    return pool._made(System(kind, HERE.pause, HERE.futex, HERE.block, HERE.restore, HERE.blocked))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return pool_of(request.param)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_each_item_runs_once_and_rows_follow_each_other(
    number: int, kind: Any, code: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "native", lambda: kind)
    threads.set_num_threads(number)
    for n in (1, 2, 3, 4, 7, 8, 29, 64, 65, 301):
        check(turns(code, n, 100), n, 100)


@pooled
@pytest.mark.parametrize("n", [2, 5, 16])
@pytest.mark.parametrize("number", [2, 7])
def test_many_regions_in_a_row(number: int, n: int, code: Any) -> None:
    threads.set_num_threads(number)
    check(turns(code, n, 1500), n, 1500, calls=8)


def test_threads_that_went_to_sleep_are_woken(kind: Any, code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sooner or later another thread takes part, and never are there more than there may be."""
    monkeypatch.setattr(runner, "native", lambda: kind)
    for number in (3, 2, 1, 4, 4):
        threads.set_num_threads(number)
        time.sleep(0.05)
        most = 1 if kind is pool_of("none") else number
        found = [stacks(code, 24)]
        while max(found) < min(most, 2) and len(found) < 100:
            found.append(stacks(code, 24))
        assert min(most, 2) <= max(found) <= most


@pytest.mark.parametrize("number", [1, 2, 7])
def test_each_thread_has_its_own_workspace(number: int, kind: Any, code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "native", lambda: kind)
    threads.set_num_threads(number)
    for n in (1, 2, 63, 500):
        made = owns(code, n)
        for _ in range(20):
            check_own(made, n)


def test_the_number_of_threads_changes_between_calls(code: Any) -> None:
    made, own = turns(code, 30, 20), owns(code, 100)
    for number in (2, 1, 7, 3, None, 5, 40, 2):
        threads.set_num_threads(number)
        check(made, 30, 20)
        check_own(own, 100)
    assert threads.num_threads() == 2


@pytest.mark.parametrize("number", [1, 2, 4])
def test_several_threads_call_at_once(number: int, code: Any) -> None:
    threads.set_num_threads(number)
    made, own, wrong = turns(code, 17, 30), owns(code, 50), []

    def run() -> None:
        try:
            for _ in range(40):
                check(made, 17, 30)
                check_own(own, 50)
        except BaseException as error:  # also assertions: a thread's errors are not the test's
            wrong.append(error)

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    assert len(made.memory.contexts) <= 5


def test_little_work_is_not_shared(code: Any) -> None:
    threads.set_num_threads(2)
    made, before = turns(code, 20, 10, work=100.0), int(pool.native().state[3])
    check(made, 20, 10)
    assert pool.native().state[3] == before


def test_a_nest_runs(code: Any) -> None:
    """As the emitted function is called: items, an array in the room, a workspace, a second step."""
    x, t, y = Array("x", "float32", 12), Array("t", "float32", 1, "workspace"), Array("y", "float32", 12, "output")
    i = form("i")
    two = Literal(2.0, Type("float32"))
    body = (
        Set("a", Read(x, i)),
        Write(t, Form(0), "a"),
        Set("b", Read(t, Form(0))),
        Set("c", Apply("mul", ("b", two), Type("float32"))),
        Write(y, i, "c"),
    )
    doubled = Nest("doubled", (x, t, y), (("i", 12),), body)
    made = compiled(module([doubled], host()), ["doubled"], host())
    steps = [
        Step(doubled, made.address("doubled"), {"x": Argument(0), "y": Room(64)}),
        Step(doubled, made.address("doubled"), {"x": Room(64), "y": Argument(1, offset=8)}),
    ]
    run = Runner(steps, [48, 56], 112, made)
    given, found = np.arange(12, dtype=np.float32), np.zeros(14, np.float32)
    run(given.ctypes.data, found.ctypes.data)
    np.testing.assert_array_equal(found, [0, 0, *(4.0 * np.arange(12))])


def test_an_array_that_does_not_fit_is_refused(code: Any) -> None:
    own = nest("own", 5, ("room", 50, "workspace"), ("to", 5, "output"))
    readonly, narrow = np.zeros(5, np.int64), np.zeros(5, np.int32)
    readonly.flags.writeable = False
    for place in (Argument(1), Argument(0, 8), Room(0), Room(-8), Constant(readonly), Constant(narrow), None):
        with pytest.raises(ValueError, match="own: to does not fit"):
            Runner([Step(own, code.address("own"), {"to": place} if place else {})], [40], 8, code)


def test_nothing_to_do() -> None:
    Runner([], [])()


# Processes


@forks
def test_a_forked_process_runs_alone_and_starts_its_own_threads(code: Any) -> None:
    threads.set_num_threads(3)
    made, state = turns(code, 40, 50), pool.native().state
    check(made, 40, 50)
    stop, wrong = threading.Event(), []

    def busy() -> None:
        other = turns(code, 40, 50)
        while not stop.is_set():
            try:
                check(other, 40, 50)
            except BaseException as error:
                wrong.append(error)
                return

    worker = threading.Thread(target=busy)
    worker.start()
    for _ in range(5):
        child = os.fork()
        if not child:
            try:
                assert state[1] == 0
                check(made, 40, 50)
                check_own(owns(code, 64), 64)
                os._exit(0 if state[1] == 2 * (HERE.sleep != "none") else 3)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        check(made, 40, 50)
    stop.set()
    worker.join()
    assert not wrong


@forks
def test_a_process_that_was_forked_without_notice_runs_alone(code: Any) -> None:
    """As by C: nobody says so to Python, and the words of the pool tell of threads that are not there."""
    script = """
        import ctypes
        number = ctypes.PyDLL(None).fork()
        check(made, 40, 50)
        if not number:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
    """
    _python("made = turns(code, 40, 50)", "check(made, 40, 50)", script)


def _python(*lines: str) -> None:
    """Run lines in a process of their own, with what this file defines; it has to end well."""
    head = f"import os, sys, threading, time; sys.path.insert(0, {str(Path(__file__).parent)!r})"
    start = "from native_counting import *; from indexlang import threads; from indexlang.backends.native import pool"
    script = "\n".join(
        [head, start, "code = kernels(); threads.set_num_threads(3)", *(textwrap.dedent(line) for line in lines)]
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def test_python_ends_while_threads_look_for_work_or_sleep() -> None:
    _python("import atexit", "atexit.register(lambda: check(turns(code, 40, 50), 40, 50))")
    _python("check(turns(code, 40, 50), 40, 50)", "time.sleep(0.2)")


@plain
def test_python_ends_while_a_daemon_calls() -> None:
    _python(
        """
        made = turns(code, 4000, 300)
        from indexlang.backends.native.quick import quick
        call = quick("call", [], [("int64", (4000,))] * 2, made)
        def run(function):
            x, counts = np.arange(4000), np.zeros(4000, np.int64)
            while True:
                function(x, counts)
        for function in (call, lambda x, c: made(x.ctypes.data, c.ctypes.data)):
            threading.Thread(target=run, args=(function,), daemon=True).start()
        time.sleep(0.1)
        """
    )


@linux
@pooled
def test_where_the_system_refuses_threads_there_are_fewer() -> None:
    _python(
        """
        import resource
        pool.native()
        check(turns(code, 40, 50, work=100.0), 40, 50)
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 20),) * 2)
        check(turns(code, 40, 50), 40, 50)
        assert pool.native().state[2] and "refused" in pool.reason(), pool.reason()
        """
    )


@linux
@pooled
def test_the_threads_leave_signals_to_python() -> None:
    _python(
        """
        import signal
        check(turns(code, 40, 50), 40, 50)
        masks = {}
        for task in os.listdir("/proc/self/task"):
            rows = open(f"/proc/self/task/{task}/status").read().split("\\n")
            masks[int(task)] = int(next(row for row in rows if row.startswith("SigBlk")).split()[1], 16)
        ours = [mask for task, mask in masks.items() if mask >> (signal.SIGINT - 1) & 1]
        assert len(ours) == 2, masks
        assert not any(mask >> (signal.SIGSEGV - 1) & 1 for mask in masks.values())
        assert masks[os.getpid()] == 0
        """
    )


# The builtin function


@plain
def test_the_builtin_function_runs(code: Any) -> None:
    made = turns(code, 6, 10)
    call = quick("turned", [], [("int64", (2, 3)), ("int64", (6,))], made)
    assert call is not None
    assert call.__name__ == "turned"
    x, counts = np.zeros((2, 3), np.int64), np.zeros(6, np.int64)
    assert call(x, counts) is None
    assert (x == 20).all()
    assert (counts == 10).all()
    with pytest.raises(ValueError, match="already"):
        quick("again", [], [("int64", (2, 3)), ("int64", (6,))], made)
    with pytest.raises(ValueError, match="bytes"):
        quick("other", [], [("int64", (2, 2)), ("int64", (6,))], turns(code, 6, 1))


class Sub(np.ndarray[Any, Any]):
    pass


@plain
def test_the_builtin_function_takes_nothing_else(code: Any) -> None:
    call = quick("call", [("int64", (2, 3))], [("int64", (6,))], turns(code, 6, 10))
    assert call is not None
    x, counts = np.zeros((2, 3), np.int64), np.zeros(6, np.int64)
    base = np.zeros(20, np.int64)
    frozen = np.zeros(6, np.int64)
    frozen.flags.writeable = False
    shifted = np.zeros(49, np.uint8)[1:].view(np.int64)
    wrong: list[tuple[Any, ...]] = [
        (),
        (x,),
        (x, counts, x),
        (x, None),
        (3, counts),
        (x.tolist(), counts),
        (x.astype(np.uint64), counts),
        (x.astype(np.float64), counts),
        (x.astype(np.int32), counts),
        (x.astype(">i8"), counts),
        (x.T, counts),
        (x.reshape(3, 2), counts),
        (x.reshape(6), counts),
        (x.reshape(1, 2, 3), counts),
        (np.asfortranarray(x), counts),
        (x.view(Sub), counts),
        (x, frozen),
        (x, base[:12:2]),
        (x, base[5::-1]),
        (x, shifted),
        (x, x.reshape(6)),
        (base[:6].reshape(2, 3), base[5:11]),
    ]
    for args in wrong:
        assert call(*args) is NotImplemented, args
    with pytest.raises(TypeError):
        call(x, counts=counts)
    assert not x.any()
    assert not counts.any()
    readable = x.copy()
    assert call(base[:6].reshape(2, 3), base[6:12]) is None
    readable.flags.writeable = False
    assert call(readable, counts) is None  # inputs need not be writeable


@plain
def test_shapes_without_axes_or_elements(code: Any) -> None:
    call = quick("call", [("float32", ()), ("bool", (0, 3))], [("float16", (0,))], Runner([], [4, 0, 0]))
    assert call is not None
    none, empty, half = np.zeros((), np.float32), np.zeros((0, 3), bool), np.zeros(0, np.float16)
    assert call(none, empty, half) is None
    assert call(none.reshape(1), empty, half) is NotImplemented
    assert call(none, empty.reshape(3, 0), half) is NotImplemented


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@plain
def test_calls_keep_no_references_and_no_memory(code: Any) -> None:
    for work in (100.0, 3e3):  # with Python's lock, and without
        made = turns(code, 6, 1, work)
        call = quick("call", [], [("int64", (6,)), ("int64", (6,))], made)
        assert call is not None
        x, counts, bad = np.zeros(6, np.int64), np.zeros(6, np.int64), np.zeros(6)
        objects = [x, counts, bad, None, NotImplemented, np.ndarray, x.dtype, call]

        def many(call: Any, x: Any, counts: Any, bad: Any) -> None:
            for _ in range(50_000):
                call(x, counts)
                call(x, bad)

        many(call, x, counts, bad)
        before = [sys.getrefcount(o) for o in objects]
        size = _resident() if sys.platform == "linux" else 0
        many(call, x, counts, bad)
        after = [sys.getrefcount(o) for o in objects]
        assert all(abs(a - b) < 20 for a, b in zip(after, before, strict=True))
        if sys.platform == "linux":
            assert _resident() - size < 1000  # pages
        assert len(made.memory.contexts) == 1


@plain
def test_the_function_keeps_what_it_needs_and_no_more(code: Any) -> None:
    made = turns(code, 6, 1)
    call = quick("call", [], [("int64", (6,)), ("int64", (6,))], made)
    assert call is not None
    memory = weakref.ref(made.memory)
    del made
    gc.collect()
    x, counts = np.zeros(6, np.int64), np.zeros(6, np.int64)
    assert call(x, counts) is None
    assert (x == 2).all()
    del call
    gc.collect()
    assert memory() is None


@plain
def test_who_finds_no_context_takes_the_other_way(code: Any) -> None:
    threads.set_num_threads(2)
    made, wrong = turns(code, 300, 40), []
    call = quick("call", [], [("int64", (300,)), ("int64", (300,))], made)
    assert call is not None

    def run() -> None:
        x, counts = np.arange(300), np.zeros(300, np.int64)
        for _ in range(100):
            if call(x, counts) is NotImplemented:
                made(x.ctypes.data, counts.ctypes.data)
        if (x != np.arange(300) + 8000).any() or (counts != 4000).any():
            wrong.append(x)

    workers = [threading.Thread(target=run) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
    own = owns(code, 10)
    fast = quick("fast", [], [("int64", (10,))], own)
    assert fast is not None
    to = np.zeros(10, np.int64)
    assert fast(to) is None
    threads.set_num_threads(9)  # its workspaces are too few
    assert fast(to) is NotImplemented
    check_own(own, 10)
    assert fast(to) is None


# Settings


def test_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("INDEXLANG_NUM_THREADS", "INDEXLANG_THREADS", "OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "usable", lambda: 11)
    for given, number in [
        (("", "", ""), 11),
        (("3", "", ""), 3),
        (("3", "4", "5"), 3),
        (("", " 4 ", "5"), 4),
        (("", "", "5,2"), 5),
        (("", "", "many"), 11),
        (("1024", "", ""), 1024),
    ]:
        for name, value in zip(names, given, strict=True):
            monkeypatch.setenv(name, value)
        threads.set_num_threads(None)
        assert threads.num_threads() == number
    for name in names[:2]:
        for bad in ("0", "-1", "many", "1025", "2.0", "²"):
            monkeypatch.setenv(names[0], "")
            monkeypatch.setenv(name, bad)
            with pytest.raises(IndexLangError, match=f"{name} is a number of threads"):
                threads.set_num_threads(None)
    for wrong in (0, -1, 1025, True, 2.0, "2"):
        with pytest.raises(IndexLangError, match="an integer from 1 to 1024"):
            threads.set_num_threads(wrong)  # type: ignore[arg-type]
    for name in names:
        monkeypatch.delenv(name)


def test_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.set_num_threads(1)
    assert "one thread" in pool.reason()
    threads.set_num_threads(2)
    assert (pool.reason() == "") == (HERE.sleep != "none")
    monkeypatch.setattr(pool, "_here", lambda: System("none"))
    assert "not made for" in pool.reason()


def test_which_system_sleeps_how() -> None:
    assert system("linux", "x86_64", "little").sleep == "futex"
    assert system("linux", "aarch64", "little").futex == 98
    assert system("linux", "s390x", "big").sleep == "none"
    assert system("linux", "i686", "little", 4).sleep == "none"
    assert system("linux", "loongarch64", "little").sleep == "condition"
    assert system("darwin", "arm64", "little").sleep == "condition"
    assert system("win32", "AMD64", "little") == System("none")
    assert system("darwin", "arm64", "little").pause == PAUSES["aarch64"]
    assert symbols(System("none")) == ()
