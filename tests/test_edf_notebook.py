"""Notebooks: cells that are run again in any order, and what is shown. With a real kernel where one is installed."""

from __future__ import annotations

import code
import gc
import linecache
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexlang import IndexLangError, IndexLangWarning, edf, tracebacks
from indexlang.errors import Problem


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    edf.reset()
    yield
    edf.reset()


class Notebook:
    """Cells as a kernel runs them: the value of a last expression goes to Out, _, __ and _5."""

    def __init__(self) -> None:
        self.out: dict[int, Any] = {}
        self.names: dict[str, Any] = {"Out": self.out, "_oh": self.out, "_": "", "__": "", "np": np}
        self.count, self.interpreter = 0, code.InteractiveInterpreter(self.names)
        self.run("from indexlang.edf import *")

    def run(self, cell: str, shown: str | None = None) -> None:
        self.count += 1
        name = f"cell {self.count}"
        linecache.cache[name] = len(cell), None, cell.splitlines(keepends=True), name
        exec(compile(cell, name, "exec"), self.names)
        if shown is not None:
            value = eval(shown, self.names)
            self.names["__"], self.names["_"] = self.names["_"], value
            self.out[self.count] = self.names[f"_{self.count}"] = value

    def __getitem__(self, name: str) -> Any:
        return eval(name, self.names)


DATA = "x.value, y.value = np.ones((4, 3)), np.array([0, 1, 0, 1])\n"
PARAMETERS = "Phi = AffineParams(3, 2)\n"
INPUTS = "x, y = Input(), Input()\n"
LOSS = "ell = CrossEntropy(Affine(Phi, x), y)\n"
STEP = "Forward(); Backward(ell); SGD(0.1)"


def test_a_cell_whose_node_was_shown_is_run_again() -> None:
    book = Notebook()
    book.run(PARAMETERS)
    for _ in range(3):
        book.run(INPUTS + LOSS, shown="ell")
        book.run(DATA + STEP)
    gc.collect()
    (sink,) = edf.default_graph().sinks()
    assert sink is book["ell"]
    book.run(INPUTS + LOSS, shown="ell")  # and the one before had no value when it was left
    book.run(INPUTS + LOSS, shown="ell")
    book.run(DATA + STEP)
    assert book["ell"].value.shape == (4,)
    assert book["Phi"].W.grad.shape == (3, 2)


def test_shown_nodes_that_a_variable_a_list_or_an_object_holds_are_computed() -> None:
    book = Notebook()
    book.run(PARAMETERS + INPUTS + LOSS)
    book.run("a = Relu(x)", shown="a")
    book.run("many = [Tanh(x)]", shown="many[0]")
    book.run("class Model: pass\nmodel = Model(); model.out = Sigmoid(x)", shown="model.out")
    book.run("Gelu(x)", shown="Gelu(x)")
    book.run(DATA + "Forward()")
    for name in ("ell", "a", "many[0]", "model.out"):
        assert book[name].value is not None
    with pytest.raises(edf.GraphError, match="has no value"):
        _ = book["_"].value
    book.run("Forward(_)")
    assert book["_"].value.shape == (4, 3)


def test_what_is_held_by_nothing_else_is_computed_if_there_is_nothing_else() -> None:
    book = Notebook()
    book.run(PARAMETERS + INPUTS, shown="CrossEntropy(Affine(Phi, x), y)")
    book.run(DATA + "Forward()")
    assert book["_"].value.shape == (4,)


def test_nodes_of_a_running_function_are_computed() -> None:
    book = Notebook()
    book.run(PARAMETERS + INPUTS + LOSS, shown="ell")

    def train() -> Any:
        edf.Forward()
        edf.Backward(loss)
        return loss.value

    x, y = edf.Input("x"), edf.Input("y")
    loss = edf.CrossEntropy(edf.Affine(edf.AffineParams(3, 2), x), y)
    book["Out"][99] = loss
    x.value, y.value = np.ones((4, 3)), np.array([0, 1, 0, 1])
    book.run(DATA)
    assert train().shape == (4,)
    assert book["ell"].value.shape == (4,)


def test_a_network_that_did_not_fit_is_made_again() -> None:
    book = Notebook()
    for wrong in (True, False):
        book.run(f"Phi = AffineParams({5 if wrong else 3}, 2)\n" + INPUTS + LOSS, shown="ell")
        if wrong:
            with pytest.raises(IndexLangError, match="does not fit") as caught:
                book.run(DATA + "Forward()")
            book.names["error"] = caught.value  # as a kernel keeps the last one, with its frames
        else:
            book.run(DATA + STEP)
    assert book["ell"].value.shape == (4,)


def test_named_nodes_and_packages_are_made_again() -> None:
    book = Notebook()
    first = 'x, y = Input("x"), Input("y"); Phi = AffineParams(3, 2, name="fc")\n'
    second = 'ell = CrossEntropy(Affine(Phi, x, name="scores"), y, name="ell")\n'
    for _ in range(2):
        book.run(first, shown="x")
        book.run(second, shown="ell")
        book.run(DATA + STEP)
    assert book["Phi"].W.grad.shape == (3, 2) and book["ell"].name == "ell"
    before = book["ell"]
    book.run(second)
    with pytest.raises(edf.GraphError, match="ell has no value"):
        _ = before.value
    with pytest.raises(edf.GraphError, match=r"'scores' was made again\n  made: cell 6, line 1\n  made again: cell 8"):
        edf.Forward(before)


def test_a_first_cell_that_is_run_again_without_the_second() -> None:
    book = Notebook()
    book.run('x, y = Input("x"), Input("y"); Phi = AffineParams(3, 2, name="fc")\n')
    book.run(LOSS)
    book.run(DATA + STEP)
    book.run('Phi = AffineParams(3, 2, name="fc")')
    with pytest.raises(edf.GraphError, match="from 'fc' as it was before 'fc' was made again"):
        book.run(STEP)
    book.run(LOSS)
    book.run(STEP)
    book.run('x = Input("x")\n' + DATA)
    with pytest.raises(edf.GraphError, match="from 'x' as it was before"):
        book.run(STEP)


def test_a_loss_that_is_left_out_because_its_parameters_were_made_again() -> None:
    book = Notebook()
    book.run('x, y = Input("x"), Input("y")\n' + DATA)
    first = 'Phi = AffineParams(3, 2, name="fc")\ns = Affine(Phi, x)'
    book.run(first)
    book.run("ell = CrossEntropy(s, y)")
    book.run(STEP)
    book.run(first)
    with pytest.raises(edf.GraphError, match="from 'fc' as it was before 'fc' was made again") as caught:
        book.run(STEP)
    assert caught.value.problems[0].values == ("made: cell 3, line 1", "made again: cell 6, line 1")
    assert "run again what makes CrossEntropy1 (cell 4, line 1)" in str(caught.value)
    book.run("ell = CrossEntropy(s, y)")
    book.run(STEP)


def test_what_one_line_has_made_twice() -> None:
    book = Notebook()
    book.run('made = [Relu(Input("z")) for _ in range(2)]')
    with pytest.raises(edf.GraphError, match="made, and made again by the same line: cell 2, line 1"):
        book.run("Forward(made[0])")


def test_an_input_without_a_name_that_is_made_again() -> None:
    book = Notebook()
    book.run(PARAMETERS + INPUTS)
    book.run(LOSS)
    book.run(DATA + STEP)
    book.run("x = Input()")
    book.run("x.value = np.zeros((4, 3))")
    with pytest.warns(IndexLangWarning, match="Input3 has a value, and nothing is computed from it\n  Input3 was made"):
        book.run(STEP)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        book.run(STEP)  # told once
        book.run(LOSS + DATA + STEP)
    assert book["x"] in edf.default_graph().inputs


def test_parameters_without_a_name_that_are_made_again() -> None:
    book = Notebook()
    book.run(PARAMETERS + INPUTS)
    book.run(LOSS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        book.run(DATA + STEP)
    book.run(PARAMETERS)
    with pytest.warns(
        IndexLangWarning, match="nothing is computed from the parameters of Phi2\n  Phi2 was made: cell 5"
    ):
        book.run(STEP)
    with pytest.raises(edf.GraphError, match=r"graph.watch\(Phi2.W\)"):
        _ = book["Phi"].W.grad
    book.run(PARAMETERS, shown="Phi.W")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        book.run(PARAMETERS + LOSS + STEP)  # those before are only remembered


AGAIN = {
    "named": "Forward(ell); Backward(ell)",
    "step": "default_graph().step(ell)",
    "training": "Training(ell, x, y, DATA, epochs=1, show=False).run()",
}


@pytest.mark.parametrize("run", AGAIN)
def test_a_loss_of_parameters_without_a_name_that_were_made_again(run: str) -> None:
    book = Notebook()
    book.names["DATA"] = edf.Dataset("few", np.ones((4, 3)), np.zeros(4, int), np.ones((2, 3)), np.zeros(2, int))
    book.run(PARAMETERS + INPUTS)
    book.run(LOSS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        book.run(DATA + AGAIN[run])
    book.run(PARAMETERS)
    told = "Phi2 is like Phi1, and was made after Affine1, .*\n  Phi1 was made: cell 2, .*\n  Phi2 was made: cell 5"
    with pytest.warns(IndexLangWarning, match=told):
        book.run(AGAIN[run])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        book.run(AGAIN[run])  # told once
        book.run(LOSS + DATA + AGAIN[run])


@pytest.mark.parametrize("graph", ["default_graph()", "Graph()"])
def test_parameters_of_a_layer_before_the_loss_that_were_made_again(graph: str) -> None:
    book = Notebook()
    book.run(f"g = {graph}")
    for cell in (
        INPUTS + "P1, P2 = AffineParams(3, 4), AffineParams(4, 2)\n",
        "h = Affine(P1, x)\n",
        "ell = CrossEntropy(Affine(P2, h), y)\n",
        DATA + "g.step(ell)\n",
        "P1, P2 = AffineParams(3, 4), AffineParams(4, 2)\n",
        "ell = CrossEntropy(Affine(P2, h), y)\n",
    ):
        book.run("with g:\n    " + cell.replace("\n", "\n    ").rstrip())
    with pytest.warns(IndexLangWarning, match="is like .* Affine1"):
        book.run("g.step(ell)")


def test_a_parameter_alone_that_was_made_again() -> None:
    book = Notebook()
    book.run(INPUTS)
    book.names["Scaled"] = edf.node("layer scaled(w[N], x[B,N]) -> y:\n    y[b,n] = w[n] * x[b,n]\n")
    book.run("w = Parameter((3,), Ones())")
    book.run("ell = CrossEntropy(Scaled(w=w, x=x), y)")
    book.run(DATA + STEP)
    book.run("w = Parameter((3,), Ones())")
    with pytest.warns(IndexLangWarning, match="Parameter2 is like Parameter1"):
        book.run(STEP)


def test_two_networks_in_one_graph_are_no_cell_that_was_run_again() -> None:
    book = Notebook()
    book.run(INPUTS + DATA)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        book.run("one = CrossEntropy(Affine(AffineParams(3, 2), x), y)")
        book.run("two = CrossEntropy(Affine(AffineParams(3, 2), x), y)")
        book.run("default_graph().step(one); default_graph().step(two)")
        book.run('Phi = AffineParams(3, 2, name="other"); default_graph().step(one)')
        book.run("many = [AffineParams(3, 3) for _ in range(3)]; ell = CrossEntropy(Affine(many[0], x), y)")
        book.run("default_graph().step(ell)")


def test_the_gradient_of_an_input_is_kept_when_it_is_watched() -> None:
    book = Notebook()
    book.run('x, y = Input("x"), Input("y")\n' + PARAMETERS + LOSS + DATA)
    with pytest.raises(edf.GraphError, match="nothing has run backward"):
        _ = book["x"].grad
    book.run(STEP)
    with pytest.raises(edf.GraphError, match=r"graph.watch\(x\) before the run keeps it, where graph is x.graph"):
        _ = book["x"].grad
    book.run("x.graph.watch(x)\n" + STEP)
    assert book["x"].grad.shape == (4, 3)


def test_two_nodes_of_one_name_in_one_graph() -> None:
    x = edf.Input("x")
    h = edf.Relu(edf.Relu(x, name="h"), name="h")
    x.value = np.ones((2, 3))
    with pytest.raises(edf.GraphError, match="give them names of their own: h1, h2"):
        edf.Forward(h)
    with edf.Graph():
        edf.Input("x")
        with pytest.raises(edf.GraphError, match="has a node 'x' already"):
            edf.Input("x")


# -- how errors are shown --------------------------------------------------------------------------


SCRIPT = """\
from indexlang import edf
import numpy as np

def build(x):
    return edf.Affine(edf.AffineParams(6, 3), x)

x = edf.Input("x")
h = build(x)
x.value = np.ones((2, 5))
edf.Forward()
"""

SHOWN = """\
Traceback (most recent call last):
  File "FILE", line 10, in <module>
    edf.Forward()
indexlang.errors.ShapeError: FILE:5:12: error[declared-shape]: Affine1 does not fit what it is computed from: \
axis 0 of W is declared as I
 5 |     return edf.Affine(edf.AffineParams(6, 3), x)
   |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  in linear.idx, line 7:
 7 | layer affine(x[N,I], W[I,O], b[O]) -> y[N,O]:
   |                        ^
  x = x [2, 5], W = Phi1.W [6, 3], b = Phi1.B [3]
  I = 5, the size of axis 1 of x
  x[N,I] has shape (2, 5)
  W[I,O] has shape (6, 3)
  way out: AffineParams(5, 3) takes what x has
"""


def shown(path: Path, **environment: str) -> str:
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(path)], check=False, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 1
    return "".join(line for line in done.stderr.splitlines(True) if line.strip(" ~^\n") or " | " in line)


def test_a_traceback_shows_the_users_lines_and_ends_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    assert shown(path) == SHOWN.replace("FILE", str(path))
    whole = shown(path, INDEXLANG_TRACEBACK="full")
    assert "graphs/sizes.py" in whole and whole.splitlines()[-1] == SHOWN.splitlines()[-1]


def test_a_hook_of_another_and_errors_of_others_stay_as_they_are() -> None:
    asked: list[BaseException] = []
    show = tracebacks.hooked(lambda kind, error, trace: asked.append(error), IndexLangError)
    other = KeyError("x")
    show(KeyError, other, None)
    assert asked == [other]
    before = sys.excepthook
    try:
        sys.excepthook = own = lambda kind, error, trace: None
        tracebacks.install(IndexLangError)
        assert sys.excepthook is own
    finally:
        sys.excepthook = before


def test_the_users_lines_behind_ours_are_shown() -> None:
    def augment(images: Any, rng: Any) -> Any:
        raise edf.DataError(Problem("data-set", "mine"))

    x, y = edf.Input("x"), edf.Input("y")
    loss = edf.CrossEntropy(edf.Affine(edf.AffineParams(3, 2), x), y)
    data = edf.Dataset("few", np.ones((4, 3)), [0, 1, 0, 1], [], [])
    with pytest.raises(edf.DataError) as caught:
        edf.Training(loss, x, y, data, augment=augment, show=False).run()
    text = "".join(tracebacks.lines(caught.value))
    assert "in test_the_users_lines_behind_ours_are_shown" in text and "in augment" in text
    assert "training.py" not in text and text.endswith("error[data-set]: mine\n")


# -- a real kernel ---------------------------------------------------------------------------------


class Kernel:
    """A Jupyter kernel; a cell gives the texts that it shows, and its traceback if it has one."""

    def __init__(self) -> None:
        manager = pytest.importorskip("jupyter_client.manager", reason="it starts the kernel")
        pytest.importorskip("ipykernel", reason="the kernel")
        self.manager, self.client = manager.start_new_kernel(startup_timeout=120)

    def run(self, cell: str) -> tuple[str, str]:
        texts: list[str] = []

        def hook(message: Any) -> None:
            content = message["content"]
            texts.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        reply = self.client.execute_interactive(cell, output_hook=hook, timeout=120)["content"]
        return "".join(texts), "\n".join(reply.get("traceback", []))

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    found = Kernel()
    yield found
    found.close()


def test_cells_of_a_kernel_in_any_order(kernel: Kernel) -> None:
    first = "import numpy as np; from indexlang.edf import *; Phi = AffineParams(%d, 2)"
    second = "x, y = Input(), Input()\nell = CrossEntropy(Affine(Phi, x), y)\nell"
    third = "x.value, y.value = np.ones((4, 3)), np.array([0, 1, 0, 1])\nForward(); Backward(ell); SGD(0.1)"
    fourth = "[n.name for n in default_graph().sinks()], ell.name, Phi.W.grad.shape"
    kernel.run(first % 5)
    assert kernel.run(second) == ("<CrossEntropy CrossEntropy1>", "")
    _, told = kernel.run(third)
    assert told.splitlines()[0] == "Traceback (most recent call last):"
    assert 'File "Cell In[3]", line 2' in told and "Cell In[2]:2:20: error[declared-shape]" in told
    assert len(told.splitlines()) < 16 and "graphs" not in told
    kernel.run(first % 3)
    for _ in range(3):
        kernel.run(second)
    assert kernel.run(third) == ("", "")
    assert kernel.run(fourth)[0] == "(['CrossEntropy4'], 'CrossEntropy4', (3, 2))"
    kernel.run(second)
    assert kernel.run(third) == ("", "")
    kernel.run("x = Input()")
    assert "Input11 has a value, and nothing is computed from it" in kernel.run(third)[0]
    kernel.run('x = Input("x"); x')
    kernel.run('x = Input("x"); x')
    kernel.run("Relu(x)")
    kernel.run('x = Input("x"); h = Relu(x); x.value = -np.ones(3)')
    assert kernel.run("Forward(h); h.value.sum()")[0] == "np.float32(0.0)"
