"""The standard layers against PyTorch, where it is installed: values and gradients, with all of its options."""
# ruff: noqa: N803 (tensors are called as in the layers)

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import indexlang
from indexlang.oracle.gradcheck import spread

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F = torch.nn.functional

Array = NDArray[Any]
LIBRARY = Path(indexlang.__file__).parent / "library"


def agree(
    file: str,
    layer: str,
    shapes: Mapping[str, tuple[int, ...] | Array],
    theirs: Callable[..., Any],
    options: Mapping[str, Any] | None = None,
    tolerance: float = 1e-10,
) -> None:
    """The layer and `theirs`, a function of torch tensors with our axes, have the same values and gradients."""
    rng = np.random.default_rng(0)
    arrays = {n: spread(s, rng) if isinstance(s, tuple) else s for n, s in shapes.items()}
    f = indexlang.compile(LIBRARY / f"{file}.idx", layer=layer, **(options or {}))
    tensors = {n: torch.tensor(a, requires_grad=a.dtype.kind == "f") for n, a in arrays.items()}
    expected = theirs(**tensors)
    expected = expected if isinstance(expected, dict) else {f.outputs[0]: expected}
    assert set(f.outputs) == set(expected)
    values, pullback = f.vjp(**arrays)
    values = values if isinstance(values, dict) else {f.outputs[0]: values}
    seeds = {n: rng.standard_normal(v.shape) for n, v in values.items() if v.dtype.kind == "f"}
    for name, value in values.items():
        np.testing.assert_allclose(value, expected[name].detach().numpy(), rtol=tolerance, atol=tolerance)
    found = pullback(seeds if len(f.outputs) > 1 else seeds[f.outputs[0]])
    sum((expected[n] * torch.tensor(s)).sum() for n, s in seeds.items()).backward()
    for name, tensor in tensors.items():
        if tensor.requires_grad:
            np.testing.assert_allclose(found[name], tensor.grad.numpy(), rtol=tolerance, atol=tolerance, err_msg=name)


def first(x: Any) -> Any:
    """Channels behind the batch, as PyTorch has them."""
    return x.movedim(-1, 1)


def last(x: Any) -> Any:
    return x.movedim(1, -1)


def weights(K: Any) -> Any:
    """[rows, columns, in, out] as [out, in, rows, columns]."""
    return K.movedim((-1, -2), (0, 1))


CONV = {"x": (2, 7, 8, 4), "K": (2, 3, 4, 6), "bias": (6,)}
CONV_OPTIONS: list[dict[str, Any]] = [
    {},
    {"stride": 2},
    {"stride": 3, "padding": 2},
    {"dilation": 2, "padding": 1},
    {"stride": 2, "dilation": 3, "padding": 3},
]


@pytest.mark.parametrize("o", CONV_OPTIONS, ids=str)
def test_conv2d(o: dict[str, Any]) -> None:
    theirs = lambda x, K, bias: last(F.conv2d(first(x), weights(K), bias, **o))  # noqa: E731
    agree("conv", "conv2d", CONV, theirs, o)
    agree("conv", "conv2d_im2col", CONV, theirs, o)
    without = {n: CONV[n] for n in ("x", "K")}
    agree("conv", "conv2d_nobias", without, lambda x, K: last(F.conv2d(first(x), weights(K), **o)), o)


@pytest.mark.parametrize("o", CONV_OPTIONS, ids=str)
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_conv2d_groups(o: dict[str, Any], groups: int) -> None:
    shapes = {"x": (2, 7, 8, 4), "K": (2, 3, 4 // groups, 8), "bias": (8,)}
    theirs = lambda x, K, bias: last(F.conv2d(first(x), weights(K), bias, groups=groups, **o))  # noqa: E731
    agree("conv", "conv2d_groups", shapes, theirs, {**o, "groups": groups})


def test_conv2d_by_axes() -> None:
    ours = {"stride_h": 2, "stride_w": 3, "dilation_h": 3, "dilation_w": 1}
    ours |= {"top": 2, "bottom": 2, "left": 1, "right": 1}
    theirs = {"stride": (2, 3), "dilation": (3, 1), "padding": (2, 1)}
    agree("conv", "conv2d", CONV, lambda x, K, bias: last(F.conv2d(first(x), weights(K), bias, **theirs)), ours)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dilation", [1, 2])
def test_conv2d_same(dilation: int) -> None:
    theirs = lambda x, K, bias: last(  # noqa: E731
        F.conv2d(first(x), weights(K), bias, dilation=dilation, padding="same")
    )
    agree("conv", "conv2d_same", CONV, theirs, {"dilation": dilation})


@pytest.mark.parametrize("mode", ["replicate", "reflect", "circular"])
@pytest.mark.parametrize("o", CONV_OPTIONS[2:], ids=str)
def test_conv2d_padding_modes(mode: str, o: dict[str, Any]) -> None:
    module = torch.nn.Conv2d(4, 6, (2, 3), padding_mode=mode, dtype=torch.float64, **o)

    def theirs(x: Any, K: Any, bias: Any) -> Any:
        return last(torch.func.functional_call(module, {"weight": weights(K), "bias": bias}, (first(x),)))

    agree("conv", f"conv2d_{mode}", CONV, theirs, o)


@pytest.mark.parametrize("o", CONV_OPTIONS, ids=str)
def test_conv_of_other_dimensions(o: dict[str, Any]) -> None:
    one = {"x": (2, 9, 3), "K": (3, 3, 4), "bias": (4,)}
    agree("conv", "conv1d", one, lambda x, K, bias: last(F.conv1d(first(x), weights(K), bias, **o)), o)
    three = {"x": (1, 4, 5, 4, 2), "K": (2, 1, 2, 2, 3), "bias": (3,)}
    agree("conv", "conv3d", three, lambda x, K, bias: last(F.conv3d(first(x), weights(K), bias, **o)), o)


@pytest.mark.parametrize("o", CONV_OPTIONS, ids=str)
def test_depthwise_and_separable(o: dict[str, Any]) -> None:
    def depthwise(x: Any, K: Any) -> Any:
        return F.conv2d(first(x), K.reshape(2, 3, 1, 8).movedim((3, 2), (0, 1)), groups=4, **o)

    shapes = {"x": (2, 7, 8, 4), "K": (2, 3, 4, 2), "bias": (8,)}
    agree("conv", "depthwise_conv2d", shapes, lambda x, K, bias: last(depthwise(x, K)) + bias, o)
    shapes |= {"P": (8, 3), "bias": (3,)}
    agree("conv", "separable_conv2d", shapes, lambda x, K, bias, P: last(depthwise(x, K)) @ P + bias, o)


@pytest.mark.parametrize(
    "o",
    [
        {},
        {"stride": 2},
        {"stride": 2, "padding": 1},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": 3, "dilation": 2, "padding": 2, "output_padding": 2},
    ],
    ids=str,
)
def test_conv_transpose2d(o: dict[str, Any]) -> None:
    def theirs(x: Any, K: Any, bias: Any, groups: int = 1) -> Any:
        return last(F.conv_transpose2d(first(x), K.movedim((2, 3), (0, 1)), bias, groups=groups, **o))

    shapes = {"x": (2, 3, 4, 4), "K": (3, 2, 4, 3), "bias": (3,)}
    agree("conv", "conv_transpose2d", shapes, theirs, o)
    in_groups = {"x": (2, 3, 4, 4), "K": (3, 2, 4, 3), "bias": (6,)}
    agree("conv", "conv_transpose2d_groups", in_groups, lambda **t: theirs(**t, groups=2), o)


def test_im2col() -> None:
    o = {"stride": 2, "dilation": 2, "padding": 1}

    def theirs(x: Any) -> Any:
        columns = F.unfold(first(x), (2, 3), **o)  # [batch, channels * rows * columns, positions]
        return columns.reshape(2, 4, 6, 4, 3).permute(0, 3, 4, 2, 1).reshape(2, 4, 3, 24)

    agree("conv", "im2col", {"x": (2, 7, 8, 4)}, theirs, {**o, "rows": 2, "columns": 3})


POOL_OPTIONS: list[dict[str, Any]] = [
    {"window": w, "stride": s, "padding": p, "ceil_mode": c}
    for w, s, p, c in ((2, 1, 0, 0), (2, 2, 1, 1), (2, 3, 1, 1), (3, 2, 0, 1), (3, 2, 1, 0), (3, 3, 1, 1))
]


@pytest.mark.parametrize("o", POOL_OPTIONS, ids=str)
def test_pooling(o: dict[str, Any]) -> None:
    shapes = {"x": (2, 7, 8, 3)}
    named = dict(kernel_size=o["window"], stride=o["stride"], padding=o["padding"], ceil_mode=bool(o["ceil_mode"]))
    for dilation in (1, 2):

        def most(x: Any, dilation: int = dilation) -> Any:
            y, indices = F.max_pool2d(first(x), **named, dilation=dilation, return_indices=True)
            return {"y": last(y), "indices": last(indices)}

        agree("pooling", "maxpool2d", shapes, lambda x, f=most: f(x)["y"], {**o, "dilation": dilation})
        agree("pooling", "maxpool2d_with_indices", shapes, most, {**o, "dilation": dilation})
    for counted in (False, True):
        mean = lambda x, c=counted: last(F.avg_pool2d(first(x), **named, count_include_pad=c))  # noqa: E731
        agree("pooling", "avgpool2d_counted", shapes, mean, {**o, "count_include_pad": int(counted)})
        if counted and not o["ceil_mode"]:
            agree("pooling", "avgpool2d", shapes, mean, {n: v for n, v in o.items() if n != "ceil_mode"})


def test_pooling_by_axes() -> None:
    shapes = {"x": (2, 9, 8, 3)}
    ours = {"window_h": 3, "window_w": 2, "stride_h": 1, "stride_w": 3, "padding_h": 1, "padding_w": 0}
    theirs = {"kernel_size": (3, 2), "stride": (1, 3), "padding": (1, 0)}
    agree("pooling", "avgpool2d", shapes, lambda x: last(F.avg_pool2d(first(x), **theirs)), ours)
    agree(
        "pooling",
        "avgpool2d",
        shapes,
        lambda x: last(F.avg_pool2d(first(x), **theirs, divisor_override=5)),
        {**ours, "divisor": 5},
    )
    mean = lambda x: last(F.avg_pool2d(first(x), **theirs, count_include_pad=False, ceil_mode=True))  # noqa: E731
    agree("pooling", "avgpool2d_counted", shapes, mean, {**ours, "ceil_mode": 1})
    most = lambda x: last(F.max_pool2d(first(x), **theirs, dilation=(2, 3), ceil_mode=True))  # noqa: E731
    agree("pooling", "maxpool2d", shapes, most, {**ours, "dilation_h": 2, "dilation_w": 3, "ceil_mode": 1})


def test_global_pooling() -> None:
    shapes = {"x": (2, 3, 4, 5)}
    agree("pooling", "global_avgpool", shapes, lambda x: F.adaptive_avg_pool2d(first(x), 1)[:, :, 0, 0])
    agree("pooling", "global_maxpool", shapes, lambda x: F.adaptive_max_pool2d(first(x), 1)[:, :, 0, 0])


ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": F.softplus,
    "softmax": lambda s: F.softmax(s, -1),
    "log_softmax": lambda s: F.log_softmax(s, -1),
}


@pytest.mark.parametrize("layer", ACTIVATIONS)
def test_activations(layer: str) -> None:
    rng = np.random.default_rng(1)
    x = spread((3, 4, 5), rng, -9, 9)
    agree(
        "activations",
        layer,
        {"s" if "softmax" in layer else "x": x},
        lambda **t: ACTIVATIONS[layer](*t.values()),
        tolerance=1e-8,
    )


def test_losses() -> None:
    scores, y = {"s": (4, 5)}, np.array([0, 4, 2, 2])
    classes = {**scores, "y": y}
    agree("losses", "cross_entropy", classes, lambda s, y: F.cross_entropy(s, y, reduction="none"))
    smoothed = lambda s, y: F.cross_entropy(s, y, reduction="none", label_smoothing=0.1)  # noqa: E731
    agree("losses", "smoothed_cross_entropy", classes, smoothed)
    q = spread((4, 5), np.random.default_rng(2), 0.1, 0.9)
    agree("losses", "log_loss", {"q": q, "y": y}, lambda q, y: F.nll_loss(torch.log(q), y, reduction="none"))
    binary = lambda s, y: F.binary_cross_entropy_with_logits(s, y, reduction="none")  # noqa: E731
    agree("losses", "binary_cross_entropy", {**scores, "y": q}, binary)
    agree("losses", "mean_squared_error", {"x": (4, 5), "y": (4, 5)}, lambda x, y: F.mse_loss(x, y))


def test_linear_maps() -> None:
    agree("linear", "affine", {"x": (3, 4), "W": (4, 2), "b": (2,)}, lambda x, W, b: F.linear(x, W.T, b))
    shapes = {"x": (3, 4), "z": (3, 2), "W": (4, 2, 5), "b": (5,)}
    agree("linear", "bilinear", shapes, lambda x, z, W, b: F.bilinear(x, z, W.movedim(2, 0), b))


NORM = {"x": (3, 4, 5, 6), "gamma": (6,), "beta": (6,)}


def test_batch_normalisation() -> None:
    def trained(x: Any, gamma: Any, beta: Any) -> Any:
        axes = tuple(range(x.ndim - 1))
        y = F.batch_norm(first(x), None, None, gamma, beta, training=True)
        return {"y": last(y), "mu": x.mean(axes), "var": x.var(axes, correction=0)}

    agree("normalization", "batchnorm2d", NORM, trained)
    agree("normalization", "batchnorm1d", {**NORM, "x": (7, 6)}, trained)
    var = spread((6,), np.random.default_rng(3), 0.3, 2)

    def evaluated(x: Any, gamma: Any, beta: Any, mu: Any, var: Any) -> Any:
        return last(F.batch_norm(first(x), mu.detach(), var.detach(), gamma, beta))

    rng = np.random.default_rng(4)
    arrays = {n: spread(s, rng) for n, s in {**NORM, "mu": (6,)}.items()} | {"var": var}
    f = indexlang.compile(LIBRARY / "normalization.idx", layer="batchnorm_eval")
    expected = evaluated(**{n: torch.tensor(a) for n, a in arrays.items()})
    np.testing.assert_allclose(f(**arrays), expected.numpy(), rtol=1e-12)


def test_running_statistics() -> None:
    """A whole module in training, then in evaluation."""
    module = torch.nn.BatchNorm2d(6, momentum=0.2, dtype=torch.float64)
    train = indexlang.compile(LIBRARY / "normalization.idx", layer="batchnorm2d")
    update = indexlang.compile(LIBRARY / "normalization.idx", layer="running_statistics", momentum=0.2)
    gamma, beta, mu, var = np.ones(6), np.zeros(6), np.zeros(6), np.ones(6)
    rng = np.random.default_rng(5)
    for _ in range(3):
        x = rng.standard_normal((2, 3, 4, 6))
        module(first(torch.tensor(x)))
        found = train(x=x, gamma=gamma, beta=beta)
        kept = update(x=x, mu=found["mu"], var=found["var"], running_mu=mu, running_var=var)
        mu, var = kept["new_mu"], kept["new_var"]
    np.testing.assert_allclose(mu, module.running_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(var, module.running_var.numpy(), rtol=1e-12)


def test_other_normalisations() -> None:
    last_axis = lambda x, gamma, beta: F.layer_norm(x, (6,), gamma, beta)  # noqa: E731
    agree("normalization", "layernorm", NORM, last_axis)
    root = lambda x, gamma: F.rms_norm(x, (6,), gamma, 1e-6)  # noqa: E731
    agree("normalization", "rmsnorm", {"x": (3, 4, 6), "gamma": (6,)}, root)
    for groups in (1, 2, 3):
        split = lambda x, gamma, beta, g=groups: last(F.group_norm(first(x), g, gamma, beta))  # noqa: E731
        agree("normalization", "groupnorm", NORM, split, {"groups": groups})
    single = lambda x, gamma, beta: last(F.instance_norm(first(x), weight=gamma, bias=beta))  # noqa: E731
    agree("normalization", "instancenorm2d", NORM, single)


@pytest.mark.parametrize("window", [1, 3, 4, 5, 9])
def test_local_response_normalisation(window: int) -> None:
    theirs = lambda x: last(F.local_response_norm(first(x), window, alpha=0.5, beta=0.6, k=2))  # noqa: E731
    agree(
        "normalization",
        "local_response_norm",
        {"x": (2, 3, 4, 7)},
        theirs,
        {"window": window, "alpha": 0.5, "beta": 0.6, "k": 2},
    )


def test_joining() -> None:
    shapes = {"a": (2, 3, 4, 1), "b": (2, 3, 4, 2), "c": (2, 3, 4, 3), "d": (2, 3, 4, 4)}
    agree("joining", "concatenate4", shapes, lambda **parts: torch.cat(list(parts.values()), 3))


def test_embedding() -> None:
    tok = np.array([[0, 3, 3], [1, 0, 4]])
    agree("sequences", "embedding", {"E": (5, 4), "tok": tok}, lambda E, tok: F.embedding(tok, E))


@pytest.mark.parametrize("causal", [False, True])
def test_attention(causal: bool) -> None:
    def theirs(q: Any, k: Any, v: Any) -> Any:
        q, k, v = (a.movedim(1, 2) for a in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal).movedim(1, 2)

    times = 5 if causal else 7
    shapes = {"q": (2, 5, 3, 4), "k": (2, times, 3, 4), "v": (2, times, 3, 2)}
    agree("sequences", "causal_attention" if causal else "attention", shapes, theirs)

    module = torch.nn.MultiheadAttention(6, 2, bias=False, batch_first=True, dtype=torch.float64)
    mask = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1) if causal else None

    def whole(x: Any, Wq: Any, Wk: Any, Wv: Any, Wo: Any) -> Any:
        inside = torch.cat([W.reshape(6, 6).T for W in (Wq, Wk, Wv)])
        given = {"in_proj_weight": inside, "out_proj.weight": Wo.reshape(6, 6).T}
        return torch.func.functional_call(module, given, (x, x, x), {"attn_mask": mask, "need_weights": False})[0]

    heads = {"x": (2, 5, 6), "Wq": (6, 2, 3), "Wk": (6, 2, 3), "Wv": (6, 2, 3), "Wo": (2, 3, 6)}
    agree("sequences", f"{'causal_' * causal}multi_head_attention", heads, whole)


def test_recurrent_cells() -> None:
    zero = torch.zeros
    state = {"h": (2, 3), "W": (4, 3), "U": (3, 3), "bias": (3,)}

    def rnn(x: Any, h: Any, W: Any, U: Any, bias: Any) -> Any:
        given = [W.T, U.T, bias, zero(3, dtype=torch.float64)]
        return torch._VF.rnn_tanh(x, h[None], given, True, 1, 0.0, False, False, True)[0]

    agree("sequences", "rnn_cell", {"x": (2, 4), **state}, lambda x, **s: rnn(x[:, None], **s)[:, 0])
    agree("sequences", "rnn4", {"x": (2, 4, 4), **state}, rnn)

    def lstm(x: Any, h: Any, c: Any, W: Any, U: Any, bias: Any) -> Any:
        given = (W.flatten(1).T, U.flatten(1).T, bias.flatten(), zero(12, dtype=torch.float64))
        return dict(zip(("h_next", "c_next"), torch._VF.lstm_cell(x, (h, c), *given), strict=True))

    shapes = {"x": (2, 4), "h": (2, 3), "c": (2, 3), "W": (4, 4, 3), "U": (3, 4, 3), "bias": (4, 3)}
    agree("sequences", "lstm_cell", shapes, lstm)

    def gru(x: Any, h: Any, W: Any, U: Any, bias: Any, bias2: Any) -> Any:
        return torch._VF.gru_cell(x, h, W.flatten(1).T, U.flatten(1).T, bias.flatten(), bias2.flatten())

    shapes = {"x": (2, 4), "h": (2, 3), "W": (4, 3, 3), "U": (3, 3, 3), "bias": (3, 3), "bias2": (3, 3)}
    agree("sequences", "gru_cell", shapes, gru)


def test_locally_connected_is_unfold_and_a_product() -> None:
    def theirs(x: Any, K: Any, bias: Any) -> Any:
        windows = F.unfold(first(x), (2, 3), stride=2).reshape(2, 3, 6, 3, 2)  # batch, channel, tap, position
        return torch.einsum("bcqij,ijqco->bijo", windows, K.reshape(3, 2, 6, 3, 4)) + bias

    shapes = {"x": (2, 6, 5, 3), "K": (3, 2, 2, 3, 3, 4), "bias": (3, 2, 4)}
    agree("neighbourhoods", "locally_connected2d", shapes, theirs, {"stride": 2})


def test_correlation_is_unfold_and_a_product() -> None:
    def theirs(f: Any, g: Any) -> Any:
        windows = F.unfold(first(g), 5, padding=2).reshape(2, 3, 5, 5, 4, 6)
        return torch.einsum("bijc,bcrsij->bijrs", f, windows) / 3

    agree("neighbourhoods", "correlation", {"f": (2, 4, 6, 3), "g": (2, 4, 6, 3)}, theirs, {"reach": 2})


def _packed(W: Any, U: Any, *biases: Any) -> tuple[Any, ...]:
    """Weights as torch has them: gates and hidden units in one axis, in front, and a second bias."""
    flat = [b.flatten() for b in biases]
    second = flat[1] if len(flat) > 1 else torch.zeros_like(flat[0])
    return W.flatten(1).T, U.flatten(1).T, flat[0], second


def test_recurrent_networks_over_time() -> None:
    state = {"x": (2, 5, 4), "h0": (2, 3), "W": (4, 3), "U": (3, 3), "bias": (3,)}

    def rnn(x: Any, h0: Any, W: Any, U: Any, bias: Any) -> Any:
        y, h = torch._VF.rnn_tanh(x, h0[None], _packed(W, U, bias), True, 1, 0.0, False, False, True)
        return {"y": y, "h_last": h[0]}

    agree("sequences", "rnn", state, rnn)

    def gru(x: Any, h0: Any, W: Any, U: Any, bias: Any, bias2: Any) -> Any:
        y, h = torch._VF.gru(x, h0[None], _packed(W, U, bias, bias2), True, 1, 0.0, False, False, True)
        return {"y": y, "h_last": h[0]}

    agree("sequences", "gru", {**state, "W": (4, 3, 3), "U": (3, 3, 3), "bias": (3, 3), "bias2": (3, 3)}, gru)


def test_long_short_term_memory_over_time() -> None:
    state = {"x": (2, 5, 4), "h0": (2, 3), "c0": (2, 3), "W": (4, 4, 3), "U": (3, 4, 3), "bias": (4, 3)}

    def lstm(x: Any, h0: Any, c0: Any, W: Any, U: Any, bias: Any) -> Any:
        given = _packed(W, U, bias)
        y, h, c = torch._VF.lstm(x, (h0[None], c0[None]), given, True, 1, 0.0, False, False, True)
        return {"y": y, "h_last": h[0], "c_last": c[0]}

    def several(layers: int, both: bool) -> Callable[..., Any]:
        def theirs(x: Any, h0: Any, c0: Any, W: Any, U: Any, bias: Any) -> Any:
            given = [p for w, u, b in zip(W, U, bias, strict=True) for p in _packed(w, u, b)]
            return torch._VF.lstm(x, (h0, c0), given, True, layers, 0.0, False, both, True)[0]

        return theirs

    agree("sequences", "lstm", state, lstm)
    twice: dict[str, tuple[int, ...]] = {n: (2, *s) for n, s in state.items()}
    agree("sequences", "bidirectional_lstm", {**twice, "x": (2, 5, 4)}, several(1, both=True))
    agree("sequences", "stacked_lstm", {**twice, "x": (2, 5, 3), "W": (2, 3, 4, 3)}, several(2, both=False))


def test_heat_and_waves_are_convolutions() -> None:
    cross = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]], dtype=torch.float64)[None, None]

    def heat(x: Any) -> Any:
        for _ in range(4):
            x = x + 0.2 * F.conv2d(F.pad(x[:, None], (1, 1, 1, 1), mode="replicate"), cross)[:, 0]
        return x

    def wave(x: Any) -> Any:
        def bend(u: Any) -> Any:
            return F.conv1d(u[:, None], cross[:, :, 1:2, :].reshape(1, 1, 3) + torch.tensor([0.0, 2, 0]), padding=1)[
                :, 0
            ]

        u = [x, x + 0.25 / 2 * bend(x)]
        for _ in range(3):
            u.append(2 * u[-1] - u[-2] + 0.25 * bend(u[-1]))
        return torch.stack(u, 1)

    agree("iterations", "heat", {"x": (2, 4, 5)}, heat, {"steps": 4})
    agree("iterations", "wave", {"x": (2, 6)}, wave, {"steps": 4})
