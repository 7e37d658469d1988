"""Mistakes of meaning: what `resolve` says, word by word, and that it says all of it and nothing twice."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from indexlang.errors import MeaningError, Source, Span
from indexlang.meaning.resolve import resolve
from indexlang.syntax.parser import parse

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {  # codes that a text alone does not give: they have tests of their own
    *("unknown-layer", "several-layers", "unknown-option", "option-kind", "import-circle"),
}


def told() -> dict[str, str]:
    """The programs of meanings.txt, and what each gives."""
    found = {}
    for block in re.split(r"^>>> ", (ROOT / "tests" / "meanings.txt").read_text(encoding="utf-8"), flags=re.M)[1:]:
        first, *rest = block.rstrip("\n").split("\n")
        more = [line[4:] for line in rest if line.startswith("...")]
        found["\n".join([first, *more])] = "\n".join(rest[len(more) :])
    return found


TOLD = told()


def says(text: str, **rest: object) -> str:
    with pytest.raises(MeaningError) as caught:
        resolve(parse(Source(text)), **rest)  # type: ignore[arg-type]
    return str(caught.value).replace(f"{ROOT / 'indexlang'}/", "")


@pytest.mark.parametrize("text", TOLD)
def test_mistakes_are_told(text: str) -> None:
    assert says(text) == TOLD[text]


def test_every_mistake_has_a_way_out() -> None:
    errors = [e for told in TOLD.values() for e in told.split("\n\n")]
    assert not [e for e in errors if "error[" in e and "  way out: " not in e]


def codes() -> set[str]:
    """All codes that the modules mention."""
    modules = sorted((ROOT / "indexlang" / "meaning").glob("*.py"))
    texts = [module.read_text(encoding="utf-8") for module in modules]
    pattern = r"(?:Problem|fail|report\.add)\(\s*\"([a-z-]+)\"|yield \(?\"([a-z-]+)\""
    return {a or b for text in texts for a, b in re.findall(pattern, text)}


def test_every_code_is_told_and_documented() -> None:
    told_codes = set(re.findall(r"error\[([a-z-]+)\]", "\n".join(TOLD.values())))
    assert told_codes == codes() - ELSEWHERE
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert not [code for code in sorted(codes()) if f"[{code}]" not in page and f"`{code}`" not in page]


def test_all_mistakes_of_a_file_are_told_in_its_order() -> None:
    text = """\
layer f(x[N]) -> y:
    y[i] = foo(x[i])

layer g(x) -> y:
    y[i] = x[i] * x[i,i] * w[i]
    y = 3

a[i] = b[i,j] + c[i]
a[i] = sum[k](d[i])
"""
    with pytest.raises(MeaningError) as caught:
        resolve(parse(Source(text)))
    found = [(p.code, p.span.line) for p in caught.value.problems if p.span]
    assert found == [
        *(("unknown-function", 2), ("rank", 5), ("unknown-name", 5), ("redefined", 6)),
        *(("scope", 8), ("redefined", 9), ("reduction-index", 9)),
    ]
    error = caught.value
    assert (error.code, error.span) == ("unknown-function", Span(Source(text), 31, 40))
    assert error.source == Source(text)


@pytest.mark.parametrize(
    "text",
    [
        "y[i] = foo(x[i])\nz[i] = 2*y[i]\nz[i] += x[i]\n",  # what is broken still counts as defined
        "y[i] = x[i,i] * x[i] * x[i,i,i]\n",  # one tensor's ranks are complained about once
        "y[i] = x[i*j] + x[i/2]\n"[:13] + "\n",
        "f(u) = u * v\ny[i] = f(x[i]) + f(2*x[i])\nz[i] = f(y[i])\n",  # a function is wrong once
        "layer f(x) -> y:\n    y[i] = x[i,i] * foo(x[i,i])\n\na = f(b)\nc = f(a)\nd = relu(f(c))\n",
        "from nowhere import relu6, f\ny = relu6(f(x))\n",  # names that an import failed to give
        "y[k] = x[k]\nz[i] = x[i] * k\nw[k] = y[k] + z[k]\n",
    ],
)
def test_nothing_that_follows_is_told(text: str) -> None:
    assert says(text).count("error[") == 1


CONV = "layer conv(x[N]; stride=1, p=0) -> y:\n    y[i] = x[pad(stride*i, p)]\n"


def test_what_comes_from_outside_is_checked() -> None:
    assert says(CONV, layer="conf") == (
        "error[unknown-layer]: there is no layer 'conf'\n  layers: conv\n  way out: did you mean 'conv'?"
    )
    assert says(CONV, options={"strid": 2, "p": 1}) == (
        "error[unknown-option]: 'conv' has no option 'strid'\n  options: stride, p\n  way out: did you mean 'stride'?"
    )
    assert says(CONV, options={"p": "same"}) == (
        "error[option-kind]: the option 'p' must be a number, true or false\n  p = 'same'\n"
        "  way out: write p=2, or leave it out"
    )
    assert "error[fraction]: a padding is a whole number, not 0.5" in says(CONV, options={"p": 0.5})
    assert says("y[i] = x[i]", options={"p": 1}) == (
        "error[unknown-option]: a program without a layer has no option 'p'\n  options: none\n  way out: leave it out"
    )
    assert says("h[i] = x[i]\ny[i] = h[i]", outputs=["y", "g"]) == (
        "error[undefined-output]: 'g' cannot be an output: no statement defines it\n  defined: h, y\n"
        "  way out: name tensors that a statement defines"
    )
    assert says("layer f(x) -> y:\n    y = x\n\nlayer g(x) -> y:\n    y = x\n") == (
        "error[several-layers]: the file has several layers\n  layers: f, g\n"
        "  way out: choose one: layer='f' in Python, --layer f on the command line"
    )


# -- imports -----------------------------------------------------------------------------------------


def files(folder: Path, **texts: str) -> str:
    """What resolving main.idx says."""
    for name, text in texts.items():
        (folder / f"{name}.idx").write_text(text, encoding="utf-8")
    return says(texts["main"], folder=folder).replace(f"{folder}/", "")


def test_an_imported_files_errors_have_its_name(tmp_path: Path) -> None:
    assert files(tmp_path, main="from a import f\ny = f(x)\n", a="layer f(x) -> y:\n    y[i] = foo(x[i])\n") == (
        "a.idx:2:12: error[unknown-function]: there is no function 'foo'\n"
        " 2 |     y[i] = foo(x[i])\n   |            ^^^^^^^^^\n  way out: did you mean 'floor'?"
    )


def test_files_do_not_import_each_other_in_a_circle(tmp_path: Path) -> None:
    said = files(
        tmp_path, main="from a import f\ny = f(x)\n", a="from b import g\nf(u) = u\n", b="from a import f\ng(u) = u\n"
    )
    assert said == (
        "b.idx:1:1: error[import-circle]: files import each other in a circle\n 1 | from a import f\n"
        "   | ^^^^^^^^^^^^^^^\n  a -> b -> a\n  way out: move what both need into a third file"
    )


def test_imports_do_not_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.idx").write_text("f(u) = u\n")
    said = files(tmp_path / "inner", main="from secret import f\ny[i] = f(x[i])\n")
    assert said.startswith("<text>:1:1: error[missing-file]: there is no file 'secret.idx' to import from")
