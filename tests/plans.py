"""Plans made by hand: short names for their parts, and a case that is printed and run, its memory checked and not."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from indexlang.backends.numpy.program import source
from indexlang.plan.places import Buffer, Part, View
from indexlang.plan.plan import Plan, Record, Section, Table
from indexlang.plan.quantities import Apply, Load
from indexlang.plan.quantities import Number as Num
from indexlang.plan.views import Row

F = "float64"


def buf(name, shape, dtype=F, role="tensor"):
    return Buffer(name, tuple(shape), dtype, role)


def view(buffer, *rows):
    """A row for each axis: an index, or const and coefs."""
    found = []
    for r in rows:
        if isinstance(r, str):
            r = (0, {r: 1})
        const, coefs = (r, {}) if isinstance(r, int) else r
        found.append(Row(const, tuple(coefs.items())))
    return View(buffer, tuple(found))


def load(place, dtype=None):
    return Load(place, dtype or place.buffer.dtype)


def fn(name, *args, dtype=F):
    return Apply(name, args, dtype)


def add(*args):
    return fn("add", *args)


def mul(*args):
    return fn("mul", *args)


def number(value, dtype=F):
    return Num(value, dtype)


class Case:
    """A Plan of one section, built and run."""

    def __init__(self, **extents):
        self.extents = {i: e if isinstance(e, tuple) else (0, e) for i, e in extents.items()}
        self.inputs, self.arrays, self.tables = [], [], []
        self.places = ()
        self.complex_step = False

    def input(self, name, array):
        self.inputs.append(buf(name, array.shape, str(array.dtype), "input"))
        self.arrays.append(array)
        return self.inputs[-1]

    def table(self, name, value, *indices):
        ends = tuple((i, self.extents[i]) for i in indices)
        made = buf(name, [hi - lo for _, (lo, hi) in ends], value.dtype, "table")
        self.tables.append(Table(made, ends, value))
        return Load(view(made, *((-self.extents[i][0], {i: 1}) for i in indices)), value.dtype)

    def plan(self, outputs, *steps):
        ends = tuple(self.extents.items())
        record = Record("y = ...", "test", ends, 0, 0)
        outputs = [(p.buffer.name, p, p.buffer.dtype) if isinstance(p, View | Part) else p for p in outputs]
        sections = (Section((record,), ends, tuple(steps)),)
        return Plan(
            tuple(self.inputs), tuple(outputs), ends, tuple(self.tables), sections, self.places, self.complex_step
        )

    def run(self, outputs, *steps, code=False):
        """The outputs, the same as with checked memory."""
        plan = self.plan(outputs, *steps)
        given = [a.copy() for a in self.arrays]
        results = [run(source(plan, checked), *self.arrays) for checked in (True, False)]
        for array, before in zip(self.arrays, given, strict=True):
            np.testing.assert_array_equal(array, before)
        for a, b in zip(*results, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype and isinstance(a, np.ndarray)
        found = results[0] if len(results[0]) > 1 else results[0][0]
        return (found, source(plan)) if code else found


def run(text, *arrays):
    """What the source gives, its parts in three threads."""
    with ThreadPoolExecutor(2) as pool:
        space = {"__name__": "generated", "workers": lambda: 3, "POOL": pool}
        exec(compile(text, "<plan>", "exec"), space)
        return space["run"](*arrays)


def data(*shape, dtype=F, seed=0):
    rng = np.random.default_rng(seed + sum(shape))
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith(("int", "uint")):
        return rng.integers(0 if dtype.startswith("u") else -9, 9, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
