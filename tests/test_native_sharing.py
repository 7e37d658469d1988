"""Kernels that are equal are compiled once: in a program, in a process, on the disk. What differs is told apart."""

from __future__ import annotations

import ast
import gc
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llvmlite", reason="the native backend needs it")

import indexlang
from indexlang.backends.native import contraction, engine, kernels, load, maps, objects, program, remembered, sources
from indexlang.backends.native.check import faults
from indexlang.backends.native.emit import module
from indexlang.backends.native.nest import Apply, Array, For, Form, Literal, Nest, Read, Set, Type, Write, form
from indexlang.backends.native.outline import loaded, outline
from indexlang.backends.native.renaming import text_of
from indexlang.backends.native.same_kernels import signature
from indexlang.backends.native.target import AVX2, BASELINE
from indexlang.plan.places import Buffer

NATIVE = Path(kernels.__file__).parent
PACKAGE = NATIVE.parents[1]
F8 = Type("float32", 8)


def scaling(by: float = 2.0, names: str = "xyirs", size: int = 64, dtype: str = "float32") -> Nest:
    """A kernel that multiplies an array by a number."""
    kind = Type(dtype, 8)
    x, y = Array(names[0], dtype, size), Array(names[1], dtype, size, "output")
    i, first, second = names[2:]
    body = (
        Set(first, Read(x, form(i), 8)),
        Set(second, Apply("mul", (first, Literal(by, kind)), kind)),
        Write(y, form(i), second),
    )
    return Nest(f"scaling_{names}", (x, y), (), (For(i, (Form(0),), (Form(size),), body, 8),))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("INDEXLANG_VERIFY", raising=False)  # it makes the nests again
    monkeypatch.setenv("INDEXLANG_CACHE", str(tmp_path / "objects"))
    return tmp_path / "objects"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that code was made of, in a process without kernels."""
    found: list[str] = []
    original = engine.assembled

    def assembled(text: str, target: engine.Target) -> bytes:
        found.append(text)
        return original(text, target)

    forget(monkeypatch)
    monkeypatch.setattr(engine, "assembled", assembled)
    return found


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has just begun."""
    monkeypatch.setattr(kernels, "_kernels", type(kernels._kernels)())
    remembered._kept.clear()


def compiled(nests: Sequence[Nest]) -> kernels.Kernels:
    return loaded([outline(nest, engine.host()) for nest in nests], engine.host())


def scaled(nest: Nest, held: kernels.Kernels) -> np.ndarray:
    x, y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    engine.call(held, nest, {nest.arrays[0].name: x, nest.arrays[1].name: y})
    return y


def run(code: str, **more: str) -> str:
    """What another process writes."""
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    env = {**os.environ, "PYTHONPATH": paths, **more}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


# -- what is the same, and what is not --------------------------------------------------------------------


def test_names_do_not_matter() -> None:
    assert signature(scaling()) == signature(scaling(names="abcde")) == signature(scaling(names="yxsri"))


def variants(of: Any) -> list[Any]:
    """Values that differ from one in a single place, of names apart."""
    if isinstance(of, bool):
        return [not of]
    if isinstance(of, int):
        return [of + 1]
    if isinstance(of, float):
        return [-of, of + 1]
    if isinstance(of, tuple):
        inside = [(*of[:k], other, *of[k + 1 :]) for k in range(len(of)) for other in variants(of[k])]
        return [*inside, *([of[:-1]] if len(of) > 1 and is_dataclass(of[0]) else [])]
    found: list[Any] = []
    if is_dataclass(of):
        for field in fields(of):
            value = getattr(of, field.name)
            if field.name == "dtype":
                found.append(replace(of, dtype="float64"))
            elif field.name == "fn":
                found.append(replace(of, fn="add"))
            elif not isinstance(value, str) and field.name not in ("size", "reach"):  # `check` alone asks for them
                found += [replace(of, **{field.name: other}) for other in variants(value)]
    return found


def test_whatever_else_differs_is_told_apart() -> None:
    some = variants(scaling())
    assert len(some) >= 25
    assert len({signature(nest) for nest in (*some, scaling())}) == len(some) + 1


def rows(count: int, inner: int, reach: int = 8) -> Nest:
    """Elements of rows that data choose, doubled: an item for each."""
    x, y = Array("x", "float32", 64 * reach), Array("y", "float32", count * inner, "output")
    at = form("b", inner) + form("i")
    body = (
        Set("n", Read(Array("t", "int64", count), form("b"))),
        Set("x", Read(x, form("i"), moved="n", reach=(0, reach))),
        Set("y", Apply("add", ("x", "x"), Type("float32"))),
        Write(y, at, "y"),
    )
    return Nest("rows", (Array("t", "int64", count), x, y), (("b", count), ("i", inner)), body)


def test_a_kernel_is_one_for_all_that_its_code_does_not_depend_on() -> None:
    """How long arrays are, how far what data choose may reach, how many values the outermost item has."""
    of = signature(rows(5, 3))
    assert of == signature(rows(1, 3)) == signature(rows(64, 3)) == signature(rows(5, 3, reach=100))
    assert of != signature(rows(5, 4)) != signature(rows(5, 1))
    assert module([rows(5, 3)], AVX2) == module([rows(1, 3)], AVX2)


def test_it_counts_its_items_right_wherever_it_came_from(folder: Path, made: list[str]) -> None:
    held = compiled([rows(1, 3)])
    for count in (1, 2, 5):
        held = compiled([nest := rows(count, 3)])
        t, x, y = np.arange(count)[::-1].copy(), np.arange(512, dtype=np.float32), np.zeros(count * 3, np.float32)
        engine.call(held, nest, {"t": t, "x": x, "y": y})
        np.testing.assert_array_equal(y.reshape(count, 3), 2 * (t[:, None] + np.arange(3)))
    assert len(made) == 1


def test_each_size_is_looked_through_for_itself() -> None:
    good, bad = rows(5, 3), replace(rows(5, 3), items=(("b", 6), ("i", 3)))
    assert signature(good) == signature(bad)
    assert not faults(good)
    assert any("y[15]" in fault for fault in faults(bad))


def test_one_array_is_not_two() -> None:
    twice = scaling(names="xyirs")
    once = replace(twice, arrays=twice.arrays[1:])
    (loop,) = once.body
    own = replace(loop.body[0], op=replace(loop.body[0].op, array=once.arrays[0]))
    assert signature(replace(once, body=(replace(loop, body=(own, *loop.body[1:])),))) != signature(twice)
    other = (loop.body[0], replace(loop.body[1], register="r"), replace(loop.body[2], value="r"))
    assert signature(replace(twice, body=(replace(loop, body=other),))) != signature(twice)


@pytest.mark.parametrize("pair", [(0.0, -0.0), (float("nan"), -float("nan")), (1.0, 1), (1, True)])
def test_numbers_are_told_apart_by_all_their_bits(pair: tuple[Any, Any]) -> None:
    first, second = (signature(scaling(by)) for by in pair)
    assert first != second


def test_what_is_the_same_is_the_same_text() -> None:
    first, second = (replace(scaling(names=names), name="k") for names in ("xyirs", "mnopq"))
    assert module([first], AVX2) == module([second], AVX2)


def test_machines_and_emitters_have_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {kernels.key(scaling(), target) for target in (AVX2, BASELINE, replace(AVX2, vector=16))}
    monkeypatch.setattr(kernels, "EMITTING", "another")
    assert len(found | {kernels.key(scaling(), AVX2)}) == 4


def imported(path: Path) -> set[Path]:
    """The modules of the package that a module imports, and those that they import."""
    found, left = {path}, [path]
    while left:
        at = left.pop()
        for node in ast.walk(ast.parse(at.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.level:
                continue
            base = at.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            several = [base.with_suffix(".py"), base / "__init__.py", *((base / f"{a.name}.py") for a in node.names)]
            fresh = {p for p in several if p.exists()} - found
            found |= fresh
            left += fresh
    return found


def test_all_that_makes_text_of_nests_is_in_the_key_of_code() -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in imported(NATIVE / "emit.py")}
    assert names == set(sources.EMITTER)


def test_all_that_schedules_is_in_the_key_of_schedules() -> None:
    found = imported(NATIVE / "remembered.py")
    assert len(found) > 50
    assert {path.parent for path in found} <= {PACKAGE / folder for folder in sources.SCHEDULER}


# -- in the process ---------------------------------------------------------------------------------------


def test_a_kernel_is_compiled_once(folder: Path, made: list[str]) -> None:
    several = [scaling(), scaling(names="abcde"), scaling(3.0, "klmno")]
    held = compiled(several)
    assert len(made) == 2
    for nest, by in zip(several, (2, 2, 3), strict=True):
        np.testing.assert_array_equal(scaled(nest, held), by * np.arange(64, dtype=np.float32))
    again = compiled([scaling(names="fghij")])
    assert again.address("scaling_fghij") == held.address("scaling_abcde")
    assert len(made) == 2
    assert len(list(folder.iterdir())) == 2


def test_another_process_makes_no_text(folder: Path, made: list[str]) -> None:
    compiled([scaling(), scaling(3.0, "klmno")])
    code = (
        "import test_native_sharing as t; from indexlang.backends.native import emit, engine, kernels\n"
        "engine.assembled = emit.module = None\n"
        "nest = t.scaling(names='abcde'); print(t.scaled(nest, t.compiled([nest]))[:3].tolist())"
    )
    assert run(code).strip() == "[0.0, 2.0, 4.0]"


def swapped(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def shorter(one: Path, other: Path) -> None:
    one.write_bytes(one.read_bytes()[:-1])


def renamed(one: Path, other: Path) -> None:
    """Kept under its name with its sum, but without the function that it should hold."""
    objects.keep(one.stem, objects.load(other.stem) or b"")


@pytest.mark.parametrize("harm", [swapped, shorter, renamed])
def test_what_is_damaged_is_made_anew(
    harm: Callable[[Path, Path], None], folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [scaling(2.0, "abcde"), scaling(3.0, "fghij")]
    compiled(several)
    before = len(made)
    harm(*sorted(folder.iterdir()))
    forget(monkeypatch)
    held = compiled(several)
    assert len(made) > before
    for nest, by in zip(several, (2, 3), strict=True):
        np.testing.assert_array_equal(scaled(nest, held), by * np.arange(64, dtype=np.float32))
    count = len(made)
    forget(monkeypatch)
    compiled(several)
    assert len(made) == count


def test_kernels_go_when_nobody_holds_them(folder: Path, made: list[str]) -> None:
    held = compiled([scaling(), scaling(3.0, "abcde")])
    one = held.of(["scaling_xyirs"])
    del held
    gc.collect()
    assert len(kernels._kernels) == 1
    np.testing.assert_array_equal(scaled(scaling(), one), 2 * np.arange(64, dtype=np.float32))
    del one
    gc.collect()
    assert len(kernels._kernels) == 0


GROWTH = """
import resource
import test_native_sharing as t
def rounds(first, count):
    for k in range(first, first + count):
        t.compiled([t.scaling(float(k + n), "abcd" + "efghi"[n]) for n in range(5)])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = rounds(0, 15)
print((rounds(1000, 40) - before) // 40)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the unit of memory is another one")
def test_memory_does_not_grow_with_kernels_that_went() -> None:
    assert (
        int(run(GROWTH, INDEXLANG_CACHE="off")) < 64
    )  # KB for 5 kernels: what the linker keeps of a library that it has removed


# -- in programs ------------------------------------------------------------------------------------------

LAYERS = "\n".join(f"h{k + 1}[b,o] = relu(sum[i](h{k}[b,i] * W{k}[i,o]))" for k in range(6))


def test_layers_that_are_repeated_are_compiled_once(folder: Path, made: list[str]) -> None:
    rng = np.random.default_rng(0)
    arrays = {"h0": rng.random((32, 64), np.float32)}
    arrays |= {f"W{k}": rng.random((64, 64), np.float32) - np.float32(0.5) for k in range(6)}
    layer = "h1[b,o] = relu(sum[i](h0[b,i] * W0[i,o]))"
    alone = indexlang.compile(layer, backend="native")
    h = arrays["h0"]
    for k in range(6):
        h = alone(h0=h, W0=arrays[f"W{k}"])
    count = len(made)
    whole = indexlang.compile(LAYERS, outputs=["h6"], backend="native")(**arrays)
    assert len(made) - count <= 2 + count  # the first, the others, the last
    np.testing.assert_array_equal(whole, h)
    renamed = (
        LAYERS.replace("sum[i]", "sum[p]")
        .replace("[b,o]", "[n,q]")
        .replace("[b,i]", "[n,p]")
        .replace("[i,o]", "[p,q]")
        .replace("W", "V")
    )
    count = len(made)
    given = {name.replace("W", "V"): a for name, a in arrays.items()}
    np.testing.assert_array_equal(indexlang.compile(renamed, outputs=["h6"], backend="native")(**given), whole)
    assert len(made) == count


@pytest.mark.parametrize(
    "several",
    [(0.0, -0.0, 0, False, "0", (0,), None), (1.0, 1, True, "1"), (float("nan"), -float("nan")), ((1, (2,)), (1, 2))],
)
def test_values_that_python_calls_equal_are_told_apart(several: tuple[Any, ...]) -> None:
    assert len({text_of(value)[0] for value in several}) == len(several)


def test_arrays_are_numbers_in_the_text_of_a_value() -> None:
    a, b = (Buffer(name, (3,), "float32") for name in "ab")
    assert text_of((a, b, a)) == (text_of((b, a, b))[0], (a, b))
    assert text_of((a, b, a))[0] != text_of((a, b, b))[0]
    assert text_of(a)[0] != text_of(replace(a, shape=(4,)))[0] != text_of(replace(a, dtype="int32"))[0]
    with pytest.raises(TypeError):
        text_of(np.zeros(3))


CONV = """
y[b,i,j,o] = K[p,q,c,o] * x[b,i+p,j+q,c]
z[b,i,j,o] = exp(relu(y[b,i,j,o]))
m[b,o] = max[i,j](z[b,i,j,o])
s[b] = sum[o](m[b,o])
"""


def function() -> tuple[Any, dict[str, np.ndarray]]:
    """A program, and what it is called with."""
    rng = np.random.default_rng(0)
    given = {"x": rng.random((2, 9, 8, 3), np.float32), "K": rng.random((3, 3, 3, 5), np.float32)}
    return indexlang.compile(CONV, outputs=["z", "s"], backend="native"), given


def convolved() -> list[np.ndarray]:
    """What the program gives, which nobody keeps."""
    f, given = function()
    return list(f(**given).values())


def told() -> str:
    """What the program gives, and its kernels."""
    f, given = function()
    return f"{[a.tobytes().hex() for a in f(**given).values()]} {sorted(kernels._kernels)}"


FIRST = "import test_native_sharing as t; print(t.told())"
NEXT = f"""
from indexlang.backends.native import contraction, emit, maps
contraction.schedule = maps.nests = emit.module = None
{FIRST}
"""


def test_another_process_schedules_nothing(folder: Path) -> None:
    first = run(FIRST)
    assert first.count("'") > 6
    assert run(NEXT) == first


ALIKE = """
import indexlang, numpy as np
from indexlang.backends.native import kernels
f = indexlang.compile("v[s,e] += y[t,e]*(q[t,s] + r[s-t+255])", backend="native")
f({n: np.ones(s, np.float32) for n, s in {"y": (256, 4), "q": (256, 256), "r": (511,)}.items()})
print(sorted(kernels._kernels))
"""


@pytest.mark.parametrize("code", [FIRST, ALIKE], ids=["layers", "indices alike"])
def test_schedules_are_the_same_in_every_process(code: str, folder: Path) -> None:
    """Whatever the order of its sets is."""
    assert len({run(code, PYTHONHASHSEED=seed, INDEXLANG_CACHE="off") for seed in "0123"}) == 1


@pytest.fixture
def scheduling(monkeypatch: pytest.MonkeyPatch, made: list[str]) -> list[str]:
    """What is scheduled."""
    found: list[str] = []

    def count(where: Any, name: str) -> None:
        original = getattr(where, name)

        def counted(*args: Any) -> Any:
            found.append(name)
            return original(*args)

        monkeypatch.setattr(where, name, counted)

    count(contraction, "schedule")
    count(maps, "nests")
    return found


def test_work_that_is_the_same_is_scheduled_once(folder: Path, scheduling: list[str]) -> None:
    first = convolved()
    count = len(scheduling)
    assert count
    for x, y in zip(convolved(), first, strict=True):
        np.testing.assert_array_equal(x, y)
    assert len(scheduling) == count


@pytest.mark.parametrize("gone", ["code", "schedules", "damaged"])
def test_what_is_missing_is_made_anew(
    gone: str, folder: Path, scheduling: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = convolved()
    for path in folder.iterdir():
        is_code = b"ELF" in path.read_bytes()[:80]
        if gone == "damaged":
            path.write_bytes(path.read_bytes()[:-1] + b"?")
        elif is_code == (gone == "code"):
            path.unlink()
    count = len(scheduling)
    forget(monkeypatch)
    for x, y in zip(convolved(), first, strict=True):
        np.testing.assert_array_equal(x, y)
    assert len(scheduling) > count


def test_nests_are_looked_through_though_their_code_is_there(
    folder: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    convolved()
    monkeypatch.setenv("INDEXLANG_VERIFY", "1")
    seen: list[str] = []
    monkeypatch.setattr(program, "faults", lambda nest: seen.append(nest.name))
    convolved()
    assert len(seen) >= 3


def test_nobody_can_tell_whether_it_was_remembered(folder: Path, scheduling: list[str]) -> None:
    """Texts of nests, and modules, are the same; their names follow from where they stand."""
    text = "a[i,k] = x[i,j] * y[j,k]\nb[i,k] = a[i,j] * y[j,k]\nc[i,k] = exp(b[i,k])\nd[i,k] = exp(a[i,k])"
    shapes = {"x": (40, 40), "y": (40, 40)}
    f = indexlang.compile(text, outputs=["a", "c", "d"], backend="native")
    plan = f.plan(**{name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    first = load.nests(plan)
    count = len(scheduling)
    assert load.nests(plan) == first
    assert len(scheduling) > count  # as the text is asked for
    names = re.findall(r"^nest (\w+)", first, re.MULTILINE)
    assert len(names) == len(set(names)) >= 3
