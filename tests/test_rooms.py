"""Memory that is kept from call to call: arrays that live at once lie apart, results are a caller's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from threading import Barrier

import numpy as np
import pytest

import indexlang
from indexlang.backends.numpy.rooms import ROOMS, Rooms
from indexlang.calls.function import Function
from indexlang.plan.buffers import bytes_of, lifetimes
from indexlang.plan.limits import TINY
from indexlang.plan.rooms import LINE, room_of

NETWORK = """
h[b,k]  = W[k,i] * x[b,i]
a[b,k]  = relu(h[b,k] + 1)
s[b,l]  = V[l,k] * tanh(a[b,k])
y[b,l]  = exp(s[b,l] - logsumexp[m](s[b,m]))
z[b]    = y[b,l] * log(1 + a[b,l])
"""
CONV = "y[b,i,j,o] += W[d,e,c,o] * x[b,i+d,j+e,c]"
GATHERED = "y[b,c] = exp(W[t[b],c]) * s[c]"


def made(text: str, *outputs: str) -> Function:
    return Function(indexlang.compile(text.strip(), outputs=outputs or None).program, limits=TINY)


def network(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"W": rng.random((9, 7)), "x": rng.random((8, 7)), "V": rng.random((9, 9))}


def by_hand(W: np.ndarray, x: np.ndarray, V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: N803
    a = np.maximum(x @ W.T + 1, 0)
    s = np.tanh(a) @ V.T
    y = np.exp(s) / np.exp(s).sum(1, keepdims=True)
    return y, (y * np.log(1 + a)).sum(1)


@pytest.mark.parametrize(("text", "sizes"), [
    (NETWORK, {"W": (9, 7), "x": (8, 7), "V": (9, 9)}),
    (CONV, {"W": (3, 3, 4, 5), "x": (2, 8, 9, 4)}),
])  # fmt: skip
def test_arrays_that_live_at_once_lie_apart(text: str, sizes: dict[str, tuple[int, ...]]) -> None:
    f = made(text)
    for plan in (f.plan(**sizes), f.grad().plan(**sizes, **{f"{o}.grad": s for o, s in _shapes(f, sizes).items()})):
        room, lives = room_of(plan), lifetimes(plan)
        given = {place.buffer for _, place, _ in plan.outputs}
        assert not given & room.at.keys()
        for buffer, at in room.at.items():
            assert at % LINE == 0 and at + bytes_of(buffer) <= room.size
        for a, b in combinations(room.at, 2):
            if lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]:
                one, other = room.at[a], room.at[b]
                assert one + bytes_of(a) <= other or other + bytes_of(b) <= one


def _shapes(f: Function, sizes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    shapes = f.plan(**sizes).shapes
    return {o: tuple(shapes[o]) for o in f.outputs}


def test_a_result_is_nobody_elses() -> None:
    f = made(NETWORK, "y", "z")
    first = f(**network(1))
    kept = {n: v.copy() for n, v in first.items()}
    second = f(**network(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])
        assert not np.shares_memory(value, second[name])


def test_gradients_and_what_a_pullback_keeps_stay() -> None:
    f = made(NETWORK, "z")
    value, pullback = f.vjp(**network(1))
    again = pullback(np.ones_like(value))
    f.vjp(**network(2))[1](np.ones_like(value))
    f(**network(3))
    for name, gradient in pullback(np.ones_like(value)).items():
        np.testing.assert_array_equal(gradient, again[name])


def test_calls_at_once_have_memory_of_their_own() -> None:
    f = made(NETWORK, "y", "z")
    f(**network(0))
    barrier = Barrier(6)

    def call(seed: int) -> bool:
        barrier.wait()
        right = []
        for k in range(20):
            found = f(**network(seed + 6 * k))
            y, z = by_hand(**network(seed + 6 * k))
            right.append(np.allclose(found["y"], y) and np.allclose(found["z"], z))
        return all(right)

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(call, range(6)))


def test_an_error_costs_nothing_but_memory() -> None:
    f = made(GATHERED)
    W, s = np.random.default_rng(0).random((5, 9)), np.ones(9)  # noqa: N806
    good, bad = np.array([0, 4, 2, 2, 1]), np.array([0, 5, 2, 2, 1])
    before = f(W=W, t=good, s=s)
    for _ in range(3):
        with pytest.raises(indexlang.ShapeError):
            f(W=W, t=bad, s=s)
        np.testing.assert_array_equal(f(W=W, t=good, s=s), before)


def test_emitted_source_stands_alone() -> None:
    f = made(NETWORK, "y", "z")
    source = f.emit(**{n: a.astype("float32") for n, a in network(0).items()})
    assert "ROOMS.take(" in source
    space: dict[str, object] = {"__name__": "alone"}
    exec(source, space)
    for seed in (1, 2, 3):
        given = network(seed)
        y, z = space["run"](*(given[n].astype("float32") for n in f.inputs))  # type: ignore[operator]
        np.testing.assert_allclose(y, by_hand(**given)[0], rtol=1e-4)
        np.testing.assert_allclose(z, by_hand(**given)[1], rtol=1e-4)
    assert len(space["ROOMS"]) > 0  # type: ignore[arg-type]


def test_memory_is_released_on_request() -> None:
    f = made(NETWORK, "y", "z")
    f(**network(0))
    assert ROOMS.size > 0
    f.release()
    assert ROOMS.size == 0
    np.testing.assert_allclose(f(**network(1))["y"], by_hand(**network(1))[0])


def test_what_is_taken_is_no_longer_there() -> None:
    rooms = Rooms(1 << 12)
    a, b = rooms.take(1024), rooms.take(1024)
    assert not np.shares_memory(a, b) and a.ctypes.data % LINE == 0
    rooms.give(a)
    assert rooms.take(1000) is a
    assert not np.shares_memory(rooms.take(1000), a)


def test_calls_that_follow_each_other_have_one_piece() -> None:
    rooms = Rooms(1 << 16)
    for size in (100, 3000, 1000, 200, 4000, 50, 3999):
        rooms.give(rooms.take(size))
    assert rooms.size == 4000
    two = [rooms.take(4000), rooms.take(100)]
    for room in two:
        rooms.give(room)
    assert rooms.take(100) is two[1] and rooms.take(100) is two[0]


def test_a_piece_above_the_bound_goes_when_nobody_needs_one_like_it() -> None:
    rooms = Rooms(1000, 5000)
    rooms.give(rooms.take(5000))
    assert rooms.size == 5000
    rooms.give(rooms.take(2500))
    assert rooms.size == 5000
    rooms.give(rooms.take(500))
    assert rooms.size == 500


def test_memory_is_bounded() -> None:
    rooms = Rooms(2500)
    a, b, c = (rooms.take(1000) for _ in range(3))
    for room in (a, b, c):
        rooms.give(room)
    assert rooms.size == 2000
    assert rooms.take(1000) is c and rooms.take(1000) is b
    rooms.give(a)
    rooms.clear()
    assert rooms.size == 0
    big = rooms.take(5000)
    rooms.give(big)
    assert rooms.size == 0
