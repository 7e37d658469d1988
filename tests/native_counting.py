"""Kernels that count, and programs of them.

`turn` reverses an array and adds one, so that a row that begins before the row ahead of it is done gives wrong numbers,
and takes longer for some items than for others, so that others get some; `tally` counts how often each item ran; `own`
fills its workspace and adds up; `who` takes a while, and writes down where its stack is, which tells threads apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from indexlang.backends.native.engine import compiled, host
from indexlang.backends.native.nest import Array, Nest
from indexlang.backends.native.runner import Argument, Constant, Room, Runner, Step

TEXT = """
define void @turn(ptr %arrays, i64 %item) {
entry:
  %cell = alloca i64
  %some = mul i64 %item, 40503
  %time = and i64 %some, 127
  br label %wait
wait:
  %k = phi i64 [ 0, %entry ], [ %k.next, %wait ]
  store volatile i64 %k, ptr %cell
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, %time
  br i1 %more, label %wait, label %take
take:
  %from = load ptr, ptr %arrays
  %to.at = getelementptr ptr, ptr %arrays, i64 1
  %to = load ptr, ptr %to.at
  %last.at = getelementptr ptr, ptr %arrays, i64 2
  %last.to = load ptr, ptr %last.at
  %last = load i64, ptr %last.to
  %back = sub i64 %last, %item
  %there = getelementptr i64, ptr %from, i64 %back
  %value = load i64, ptr %there
  %next = add i64 %value, 1
  %here = getelementptr i64, ptr %to, i64 %item
  store i64 %next, ptr %here
  ret void
}

define void @tally(ptr %arrays, i64 %item) {
  %counts = load ptr, ptr %arrays
  %at = getelementptr i64, ptr %counts, i64 %item
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  ret void
}

define void @own(ptr %arrays, i64 %item) {
entry:
  %room = load ptr, ptr %arrays
  %to.at = getelementptr ptr, ptr %arrays, i64 1
  %to = load ptr, ptr %to.at
  br label %fill
fill:
  %k = phi i64 [ 0, %entry ], [ %k.next, %fill ]
  %at = getelementptr i64, ptr %room, i64 %k
  store volatile i64 %item, ptr %at
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, 50
  br i1 %more, label %fill, label %sum
sum:
  %j = phi i64 [ 0, %fill ], [ %j.next, %sum ]
  %total = phi i64 [ 0, %fill ], [ %total.next, %sum ]
  %from = getelementptr i64, ptr %room, i64 %j
  %value = load volatile i64, ptr %from
  %total.next = add i64 %total, %value
  %j.next = add i64 %j, 1
  %again = icmp ult i64 %j.next, 50
  br i1 %again, label %sum, label %end
end:
  %here = getelementptr i64, ptr %to, i64 %item
  store i64 %total.next, ptr %here
  ret void
}

define void @who(ptr %arrays, i64 %item) {
entry:
  %cell = alloca i64
  br label %wait
wait:
  %k = phi i64 [ 0, %entry ], [ %k.next, %wait ]
  store volatile i64 %k, ptr %cell
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, 300000
  br i1 %more, label %wait, label %end
end:
  %to = load ptr, ptr %arrays
  %here = getelementptr i64, ptr %to, i64 %item
  %stack = ptrtoint ptr %cell to i64
  store i64 %stack, ptr %here
  ret void
}
"""


def kernels() -> Any:
    return compiled(TEXT, ["turn", "tally", "own", "who"], host())


def nest(name: str, n: int, *arrays: tuple[str, int, str]) -> Nest:
    """As much of a nest as is asked of it here."""
    return Nest(name, tuple(Array(a, "int64", size, role) for a, size, role in arrays), (("i", n),), ())


def turns(code: Any, n: int, rounds: int, work: float = float("inf")) -> Runner:
    """`runner(x, counts)`: after it each x is greater by 2 * rounds, each count by rounds."""
    turn = nest("turn", n, ("from", n, "input"), ("to", n, "output"), ("last", 1, "input"))
    last = Constant(np.array([n - 1]))
    there = Step(turn, code.address("turn"), {"from": Argument(0), "to": Room(0), "last": last}, work)
    back = Step(turn, code.address("turn"), {"from": Room(0), "to": Argument(0), "last": last}, work)
    tally = Step(nest("tally", n, ("counts", n, "output")), code.address("tally"), {"counts": Argument(1)}, work)
    return Runner([there, back, tally] * rounds, [8 * n, 8 * n], 8 * n, code)


def owns(code: Any, n: int) -> Runner:
    """`runner(to)`: each item is added up 50 times."""
    own = nest("own", n, ("room", 50, "workspace"), ("to", n, "output"))
    return Runner([Step(own, code.address("own"), {"to": Argument(0)})] * 5, [8 * n], 0, code)


def check(made: Runner, n: int, rounds: int, calls: int = 1) -> None:
    x, counts = np.arange(n), np.zeros(n, np.int64)
    for _ in range(calls):
        made(x.ctypes.data, counts.ctypes.data)
    # Turned twice, it stands as before.
    np.testing.assert_array_equal(x, np.arange(n) + 2 * rounds * calls)
    np.testing.assert_array_equal(counts, rounds * calls)


def check_own(made: Runner, n: int) -> None:
    to = np.full(n, -1)
    made(to.ctypes.data)
    np.testing.assert_array_equal(to, 50 * np.arange(n))


def stacks(code: Any, n: int) -> int:
    """How many threads ran the items."""
    made = Runner(
        [Step(nest("who", n, ("to", n, "output")), code.address("who"), {"to": Argument(0)})], [8 * n], 0, code
    )
    to = np.zeros(n, np.int64)
    made(to.ctypes.data)
    # Stacks of threads are far apart, and the same thread is about as deep in its own each time.
    places = np.sort(to)
    return 1 + int((np.diff(places) > 65536).sum())
