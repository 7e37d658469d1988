"""Whole Plans as source: what is delivered, how long memory lives, names."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from plans import Case, F, buf, data, load, number, run, view

from indexlang.backends.numpy.program import source
from indexlang.plan.buffers import bytes_of, lifetimes, without_copies
from indexlang.plan.kernels import Map, Product, Roles
from indexlang.plan.places import Buffer, Part
from indexlang.plan.plan import Loop, Make, Plan, Run, Section
from indexlang.plan.quantities import Apply
from indexlang.plan.rooms import memory
from indexlang.plan.verify import verify


def test_outputs_are_delivered_in_their_types_and_no_array_twice():
    case = Case(i=4)
    x = case.input("x", data(4))
    y = buf("y", (6,))
    case.extents["p"] = (0, 6)
    part = view(y, (1, {"i": 1}))
    results = case.run(
        [("x", view(x, "i"), F), ("y", part, "float32"), ("z", part, F), ("w", part, F)],
        Run(view(y, "p"), "=", Map(number(0.0))),
        Run(part, "=", Map(load(view(x, "i")))),
    )
    assert results[1].dtype == np.float32 and results[0] is not case.arrays[0]
    assert not np.shares_memory(results[2], results[3]) and not np.shares_memory(results[0], case.arrays[0])
    for found in results:
        np.testing.assert_allclose(found, case.arrays[0], rtol=1e-6)


def two_sections():
    x, t, y = buf("x", (8,), F, "input"), buf("t", (8,)), buf("y", (8,), "float32")
    work = Part(buf("work", (3,), F, "workspace"), ("i",))
    ends = (("i", (0, 8)),)
    first = Loop("i", 3, (Run(work, "=", Map(load(view(x, "i")))), Run(view(t, "i"), "=", Map(load(work)))))
    second = Run(view(y, "i"), "=", Map(load(view(t, "i"))))
    sections = tuple(Section((), ends, (s,)) for s in (first, second, Run(view(y, "i"), "*=", Map(number(2.0)))))
    return Plan((x,), (("y", view(y, "i"), "float32"),), ends, (), sections), t, y, work.buffer


def test_buffers_live_from_their_first_to_their_last_section():
    plan, t, y, work = two_sections()
    assert lifetimes(plan) == {work: (0, 0), t: (0, 1), y: (1, 3)}
    assert bytes_of(t) == 64 and bytes_of(buf("m", (3, 2), "bool")) == 6
    assert memory(plan) == 64 + 32
    code = source(plan)
    assert "    del work\n" in code and "    del t\n" in code
    x = data(8)
    np.testing.assert_array_equal(run(code, x)[0], x.astype(np.float32) * 2)


def test_memory_is_given_back():
    plan, t, _, _ = two_sections()
    big = 1 << 20

    def grown(node):
        if isinstance(node, Buffer):
            return dataclasses.replace(
                node, shape=tuple(big if n == 8 else big // 4 if n == 3 else n for n in node.shape)
            )
        if isinstance(node, tuple):
            return tuple(grown(n) for n in node)
        if isinstance(node, Loop):
            return dataclasses.replace(node, by=big // 4, steps=grown(node.steps))
        if dataclasses.is_dataclass(node):
            return dataclasses.replace(
                node, **{f.name: grown(getattr(node, f.name)) for f in dataclasses.fields(node) if f.init}
            )
        return big if node == 8 else node

    large = grown(plan)
    space = {}
    exec(source(large), space)
    x = np.zeros(big)
    tracemalloc.start()
    space["run"](x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < memory(large) + (1 << 16)
    assert t.shape == (8,)


def test_names_of_a_program_never_become_code():
    case = Case(**{"import": 3})
    x = case.input("run", data(3))
    y = view(buf("x y; np = 1", (3,)), "import")
    z = view(buf("ℝ", (3,)), "import")
    found, other = case.run(
        [y, z],
        Loop("import", 2, (Run(y, "=", Map(load(view(x, "import")))),)),
        Run(z, "=", Map(load(y))),
    )
    np.testing.assert_array_equal(found, case.arrays[0])
    np.testing.assert_array_equal(other, case.arrays[0])


def test_memory_that_is_not_written_shows_where_it_is_checked():
    case = Case(i=4, j=2)
    y = buf("y", (4,))
    plan = case.plan([view(y, "i")], Run(view(y, (1, {"j": 1})), "=", Map(number(1.0))))
    found = run(source(plan, checked=True))[0]
    np.testing.assert_array_equal(found, [np.nan, 1, 1, np.nan])


@pytest.mark.parametrize("made", ["whole", "blocks", "read again", "turned", "other type", "written before"])
def test_a_workspace_that_becomes_a_tensor_is_that_tensor(made):
    case = Case(i=4, j=4, k=3)
    a, w = case.input("a", data(4, 3)), case.input("w", data(3, 4))
    part = Part(buf("part", (4, 4), F, "workspace"), ("i", "j"))
    y = buf("y", (4, 4), "float32" if made == "other type" else F)
    product = Run(part, "=", Product(view(a, "i", "k"), view(w, "k", "j"), Roles((), ("i",), ("j",), ("k",))))
    place = view(y, "j", "i") if made == "turned" else view(y, "i", "j")
    steps = [
        Make(part),
        Loop("i", 3, (product,)) if made == "blocks" else product,
        Run(place, "=", Map(load(part))),
        Run(place, "+=", Map(load(part) if made == "read again" else number(1.0))),
    ]
    if made == "written before":
        steps.insert(0, Run(view(y, "i", "j"), "=", Map(number(0.0))))
    plan = case.plan([view(y, "i", "j")], *steps)
    joined = without_copies(plan)
    assert (part.buffer in lifetimes(joined)) == (made not in ("whole", "blocks"))
    np.testing.assert_array_equal(run(source(joined), *case.arrays)[0], run(source(plan), *case.arrays)[0])
    assert memory(joined) <= memory(plan)


def test_axes_of_one_element_keep_their_names():
    """Two arrays of one element may hold the same and still have other axes: neither stands for the other."""
    case = Case(i=1, j=1)
    x = case.input("x", data(1, 1))
    y = buf("y", (1, 1))
    first = Part(buf("a", (1, 1), role="workspace"), ("i", "j"))
    second = Part(buf("b", (1, 1), role="workspace"), ("j", "i"))
    steps = [
        Run(first, "=", Map(load(view(x, "i", "j")))),
        Run(second, "=", Map(load(first))),
        Run(view(y, "i", "j"), "=", Map(Apply("neg", (load(second),), F))),
    ]
    plan = without_copies(case.plan([view(y, "i", "j")], *steps))
    verify(plan)
    np.testing.assert_array_equal(run(source(plan), *case.arrays)[0], -case.arrays[0])
