"""What help and completion show: real signatures, texts from the layers, choices as types, public names only."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import typing
from typing import Literal

import pytest

import indexlang
from indexlang import edf
from indexlang.backends.engines import usual
from indexlang.calls.function import Function
from indexlang.edf.graphs import initialisers


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (edf.Affine, "(Phi, x, /, *, name=None)"),
        (edf.Relu, "(x, *, name=None)"),
        (edf.LeakyRelu, "(x, *, slope=0.01, name=None)"),
        (edf.CrossEntropy, "(s, y, *, name=None)"),
        (edf.Concat, "(*nodes, name=None)"),
        (edf.Attention, "(*nodes_and_package, causal=False, name=None)"),
        (edf.GroupNorm, "(Phi, /, x, *, groups=2, eps=1e-05, name=None)"),
        (edf.BatchNorm, "(Phi, x, /, *, eps=1e-05, momentum=0.1, name=None)"),
        (edf.node("layer f(x; a=2) -> y:\n    y[...] = a*x[...]\n", a=3), "(x, *, a=3, name=None)"),
        (edf.node("y[n] = a*x[n,i]*w[i]"), "(*nodes_and_packages, name=None)"),
    ],
)
def test_a_class_of_nodes_shows_what_it_takes(kind, said):
    assert str(inspect.signature(kind)) == said


def test_defaults_that_are_other_options_are_shown_as_they_are_written():
    options = inspect.signature(edf.Conv).parameters
    assert repr(options["stride_h"].default) == "stride"
    assert repr(options["groups"].default) == "Phi.groups"
    assert options["stride"].default == 1


KINDS = [k for n in edf.__all__ if isinstance(k := getattr(edf, n), type) and issubclass(k, edf.CompNode)]


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not edf.CompNode], ids=lambda k: k.__name__)
def test_the_options_of_a_signature_are_those_that_the_layer_takes(kind):
    """Each default that is a number, given by hand, makes the node that leaving it out makes."""
    options = {n: p.default for n, p in inspect.signature(kind).parameters.items() if p.kind is p.KEYWORD_ONLY}
    given = {n: d for n, d in options.items() if isinstance(d, int | float)}
    with edf.Graph():
        x, y = edf.Input("x", (8, 8, 4)), edf.Input("y", ())
        flat, heads = edf.Input("flat", (4,)), edf.Input("heads", (3, 2, 2))
        arguments = {
            "Affine": (edf.AffineParams(4, 3), flat),
            "Attention": (heads, heads, heads),
            "BatchNorm": (edf.NormParams(4), x),
            "Concat": (x, x),
            "Conv": (edf.ConvParams(4, 4, 3), x),
            "CrossEntropy": (flat, y),
            "Embedding": (edf.EmbeddingParams(5, 4), edf.Input("t", (7,))),
            "GroupNorm": (edf.NormParams(4), x),
            "LayerNorm": (edf.NormParams(4), x),
            "LogLoss": (flat, y),
            "MeanSquaredError": (flat, flat),
            "SquaredError": (flat, flat),
            "Add": (x, x),
        }.get(kind.__name__, (x,))
        inspect.signature(kind).bind(*arguments, **given)
        assert kind(*arguments, **given).call.program == kind(*arguments).call.program


def test_a_class_with_an_init_of_its_own_shows_that():
    class Twice(edf.Relu):
        def __init__(self, source):
            super().__init__(source * 2)

    assert str(inspect.signature(Twice)) == "(source)"


def test_the_text_of_a_class_is_the_layer_s():
    assert edf.Relu.__doc__ == (
        "Rectified linear unit. At 0 the slope is 0.\nSource: Nair, Hinton 2010; torch.nn.ReLU.\n\nlayer relu(x) -> y:"
    )
    assert "\n\nOptions: the slope below 0.\n\nlayer leaky_relu(x; slope=0.01) -> y:" in edf.LeakyRelu.__doc__
    assert edf.node("y[n] = x[n,i]*w[i]").__doc__ == "The layer of a text."


def test_choices_are_types():
    """So that a type checker finds `form="gathr"`."""
    assert typing.get_type_hints(indexlang.compile)["backend"] == Literal["auto", "numpy", "native", "jax"]
    assert typing.get_type_hints(Function.emit)["target"] == Literal["numpy", "llvm", "jax"]
    hints = typing.get_type_hints(Function.grad, vars(sys.modules[Function.__module__]))
    assert hints["form"] == Literal["scatter", "gather"]
    assert typing.get_type_hints(edf.He)["mode"] == Literal["in", "out", "average"]
    assert set(typing.get_args(initialisers.Mode)) == set(initialisers._MODES)


def test_a_function_says_what_runs_it():
    f = indexlang.compile("y[i] = x[i]**2", backend="auto")
    assert f.backend == indexlang.compile("y[i] = x[i]**2").backend == Function(f.program).backend == usual()
    for backend in ("numpy", "native"):
        other = Function(f.program, backend=backend)
        assert other.grad().backend == pickle.loads(pickle.dumps(other)).backend == backend
    for absent in ("cuda", "Numpy", ""):
        with pytest.raises(indexlang.MeaningError, match="one of auto, numpy"):
            indexlang.compile("y = 1", backend=absent)


def test_only_public_names_are_completed():
    assert [n for n in dir(indexlang) if n not in indexlang.__all__] in (["edf"], ["edf", "torch"])
    assert [n for n in dir(edf) if n not in edf.__all__] == ["networks"]
    assert set(indexlang.__all__) <= set(dir(indexlang))


def test_what_a_function_has_is_not_looked_for_in_vain_in_the_package():
    with pytest.raises(AttributeError, match=r"indexlang.compile\(text\).grad"):
        indexlang.grad(indexlang.compile("y[i] = x[i]**2"))
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        _ = indexlang.nonsense


def test_edf_is_loaded_when_it_is_asked_for():
    code = "import sys, indexlang; assert 'indexlang.edf' not in sys.modules; indexlang.edf.Relu"
    subprocess.run([sys.executable, "-c", code], check=True)
