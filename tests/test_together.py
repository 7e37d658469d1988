"""Sections that run together, a block of an outer axis after the other: which they are, and that nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planned import steps_of

import indexlang
from indexlang.calls.function import Function
from indexlang.derive import grad
from indexlang.oracle import loops
from indexlang.plan.buffers import places_of
from indexlang.plan.kernels import Product
from indexlang.plan.limits import NUMPY, TINY
from indexlang.plan.naming import renamed
from indexlang.plan.plan import Loop, Plan, Run, Section
from indexlang.plan.rooms import memory, room_of
from indexlang.plan.verify import verify

pytestmark = pytest.mark.usefixtures("on_numpy")  # native code goes through whole domains

ATTENTION = """
s[b,h,t,u] = q[b,t,h,d] * k[b,u,h,d]
p[b,h,t,u] = exp(s[b,h,t,u] - logsumexp[w](s[b,h,t,w])){mask}
y[b,t,h,f] = p[b,h,t,u] * v[b,u,h,f]
"""
GELU = "s[b,t,u] = q[b,t,d] * k[b,u,d]\na[b,t,u] = gelu(s[b,t,u])\ny[b,t,f] = a[b,t,u] * v[b,u,f]"
SMALL = replace(NUMPY, block=64, chunk=64, least=8)


def joined(plan: Plan) -> list[Section]:
    """The sections in which a product stands in a loop over one of its batch."""
    found = []
    for section in plan.sections:
        for step in section.steps:
            inner = [step.steps] if isinstance(step, Loop) and step.by == 1 else []
            while inner:
                steps = inner.pop()
                inner += [s.steps for s in steps if isinstance(s, Loop)]
                if any(isinstance(s, Run) and isinstance(s.kernel, Product) for s in steps):
                    found.append(section)
    return found


def backward(text: str, **shapes: tuple[int, ...]) -> Plan:
    return indexlang.compile(text, outputs=["y"]).plans(**shapes)[1]


@pytest.mark.parametrize("mask", ["", " where u <= t"])
def test_the_gradient_of_attention_is_made_head_by_head(mask: str) -> None:
    shapes = dict.fromkeys("qkv", (2, 512, 4, 32))
    plan = backward(ATTENTION.format(mask=mask), **shapes)
    verify(plan)
    assert len(joined(plan)) == 1
    assert memory(plan) < 5 * 4 * 512 * 512  # of 8 heads
    (threads,) = [s for s in steps_of(plan) if isinstance(s, Loop) and s.how == "thread" and s.by == 1]
    assert threads.index == "b"


def test_small_blocks_stay_together() -> None:
    assert not joined(backward(ATTENTION.format(mask=""), **dict.fromkeys("qkv", (64, 16, 8, 4))))
    assert not joined(backward(ATTENTION.format(mask=""), **dict.fromkeys("qkv", (1, 64, 1, 16))))


def test_what_is_given_is_made_as_a_whole() -> None:
    text = GELU.replace("y[b,t,f]", "z[b,t,f]")
    f = indexlang.compile(text, outputs=["z"])
    shapes = dict.fromkeys("qkv", (8, 512, 32))
    assert len(joined(f.plan(**shapes))) == 1
    assert not joined(indexlang.compile(text, outputs=["z", "a"]).plan(**shapes))


@pytest.mark.parametrize(
    "text",
    [
        GELU.replace("a[b,t,u] = gelu(s[b,t,u])", "a[b,t,u] = gelu(s[b,t,u])\na[b,t,u] += m[t,u] * sum[c](s[c,t,u])"),
        GELU.replace("gelu(s[b,t,u])", "s[b,t,u] / (1 + max[c](s[c,t,u])**2)"),
        GELU.replace("gelu(s[b,t,u])", "gelu(s[b,t,u]) - s[n-1-b,t,u] where b < n").replace("n", "4"),
        GELU.replace("gelu(s[b,t,u])", "gelu(s[b,u,t])"),
        GELU.replace("gelu(s[b,t,u])", "b * gelu(s[b,t,u])"),
        GELU.replace("gelu(s[b,t,u])", "gelu(s[b,t,u]) where u <= t + b"),
        GELU.replace("y[b,t,f] =", "y[t,f] ="),
        GELU,
    ],
)
@pytest.mark.parametrize(
    "limits", [SMALL, replace(SMALL, shared=1), TINY, NUMPY], ids=["small", "threads", "tiny", "no"]
)
def test_values_and_gradients_are_those_of_loops(text: str, limits: Any) -> None:
    program = indexlang.compile(text, outputs=["y"]).program
    f, rng = Function(program, limits=limits), np.random.default_rng(5)
    shapes = {**dict.fromkeys("qkv", (4, 5, 3)), "m": (5, 5)}
    given = {n: rng.standard_normal(shapes[n]) for n in f.inputs}
    right = loops.run(program, given)["y"]
    verify(f.plan(**given))
    np.testing.assert_allclose(f(**given), right, rtol=1e-9, atol=1e-12)
    dy = rng.standard_normal(right.shape)
    expected = loops.run(grad.backward(program), {**given, "y.grad": dy})
    for plan in f.plans(**given):
        verify(plan)
    for name, value in f.vjp(**given)[1](dy).items():
        np.testing.assert_allclose(value, expected[f"{name}.grad"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shared", [1, NUMPY.shared])
def test_small_limits_join_such_sections(shared: int) -> None:
    f = Function(indexlang.compile(GELU).program, limits=replace(SMALL, shared=shared))
    plan = f.plan(**dict.fromkeys("qkv", (4, 5, 3)))
    (section,) = joined(plan)
    assert len(section.records) == len(plan.steps) == 3
    assert all(record.kernel.endswith(", together by b") for record in plan.steps)
    (loop,) = [s for s in section.steps if isinstance(s, Loop)]
    assert (loop.index, loop.by, loop.how) == ("b", 1, "thread" if shared == 1 else "serial")


def test_what_threads_make_for_themselves_has_no_room_outside() -> None:
    plan = backward(ATTENTION.format(mask=""), **dict.fromkeys("qkv", (2, 512, 4, 32)))
    assert not any("grad" in b.name and b.shape[-2:] == (512, 512) for b in room_of(plan).at)


@pytest.mark.parametrize("mask", ["", " where u <= t"])
def test_attention_alone_is_made_head_by_head(mask: str) -> None:
    f = indexlang.compile(ATTENTION.format(mask=mask), outputs=["y"])
    plan = f.plan(**dict.fromkeys("qkv", (2, 512, 4, 32)))
    verify(plan)
    (section,) = joined(plan)  # the index of a sum has the name of the axis that it goes through
    assert {i for i, _ in section.extents} >= {"b", "h", "t", "u"} and "w" not in dict(section.extents)
    assert memory(plan) < 5 * 4 * 512 * 512


@pytest.mark.parametrize("limits", [SMALL, replace(SMALL, shared=1), NUMPY], ids=["small", "threads", "default"])
@pytest.mark.parametrize("mask", ["", " where u <= t"])
def test_attention_is_that_of_loops(mask: str, limits: Any) -> None:
    program = indexlang.compile(ATTENTION.format(mask=mask), outputs=["y"]).program
    f, rng = Function(program, limits=limits), np.random.default_rng(6)
    given = {n: rng.standard_normal((2, 6, 3, 4)) for n in f.inputs}
    np.testing.assert_allclose(f(**given), loops.run(program, given)["y"], rtol=1e-9)
    dy = rng.standard_normal((2, 6, 3, 4))
    expected = loops.run(grad.backward(program), {**given, "y.grad": dy})
    for plan in (f.plan(**given), *f.plans(**given)):
        verify(plan)
    for name, value in f.vjp(**given)[1](dy).items():
        np.testing.assert_allclose(value, expected[f"{name}.grad"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", [GELU, ATTENTION.format(mask=" where u <= t")])
def test_steps_under_other_names(text: str) -> None:
    plan = indexlang.compile(text, outputs=["y"]).plan(
        **dict.fromkeys("qkv", (4, 64, 8) if text == GELU else (1, 256, 2, 16))
    )
    for section in plan.sections:
        names = {i: f"{i}_new" for i, _ in section.extents}
        steps = renamed(section.steps, names)
        assert renamed(steps, {new: i for i, new in names.items()}) == section.steps
        mentioned = {i for place in places_of(steps) for i in place.mentioned}
        assert mentioned <= set(names.values())
        assert renamed(section.steps, {}) == section.steps
