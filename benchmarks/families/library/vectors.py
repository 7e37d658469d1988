"""Layers of vectors and sequences: functions of elements, linear maps, losses, normalisation, attention, cells."""
# ruff: noqa: N803

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .layer import Layer

ELEMENTS = "32,49,512"


def function(call: str, **options: Any) -> Callable[..., Any]:
    """A function of torch.nn.functional."""
    return lambda torch, *given: getattr(torch.nn.functional, call)(*given, **options)


def activation(name: str, torch: Callable[..., Any], tensor: str = "x", output: str = "") -> Layer:
    return Layer("activations", name, f"{tensor}[{ELEMENTS}]", output + ELEMENTS, torch)


def heads(causal: bool) -> Callable[..., Any]:
    """Attention of projections, as one writes it in PyTorch."""

    def f(torch: Any, x: Any, Wq: Any, Wk: Any, Wv: Any, Wo: Any) -> Any:
        q, k, v = ((x @ W.flatten(1)).unflatten(2, W.shape[1:]).transpose(1, 2) for W in (Wq, Wk, Wv))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return y.transpose(1, 2).flatten(2) @ Wo.flatten(0, 1)

    return f


def cell(torch: Any, x: Any, h: Any, W: Any, U: Any, bias: Any) -> Any:
    return torch.rnn_tanh_cell(x, h, W, U, bias, torch.zeros_like(bias))


def four(torch: Any, x: Any, h: Any, W: Any, U: Any, bias: Any) -> Any:
    given = [W, U, bias, torch.zeros_like(bias)]
    return torch.rnn_tanh(x, h[None], given, True, 1, 0.0, False, False, True)[0]


def lstm(torch: Any, x: Any, h: Any, c: Any, W: Any, U: Any, bias: Any) -> Any:
    flat = bias.flatten()
    return torch.lstm_cell(x, (h, c), W.flatten(1).T, U.flatten(1).T, flat, torch.zeros_like(flat))[0]


def gru(torch: Any, x: Any, h: Any, W: Any, U: Any, bias: Any, bias2: Any) -> Any:
    return torch.gru_cell(x, h, W.flatten(1).T, U.flatten(1).T, bias.flatten(), bias2.flatten())


def root(torch: Any, x: Any, gamma: Any) -> Any:
    return torch.nn.functional.rms_norm(x, gamma.shape, gamma, 1e-6)


QKV = "q[4,256,4,32] k[4,256,4,32] v[4,256,4,32]"
BY_HEAD = dict.fromkeys("qkvy", (0, 2, 1, 3))
PROJECTED = "x[4,256,128] Wq[128,4,32] Wk[128,4,32] Wv[128,4,32] Wo[4,32,128]"
CELL = {"W": (1, 0), "U": (1, 0)}
SCORES = "s[4096,100] y[4096]<100"

LAYERS = (
    activation("relu", function("relu")),
    activation("leaky_relu", function("leaky_relu")),
    activation("relu6", function("relu6")),
    activation("sigmoid", function("sigmoid")),
    activation("tanh", function("tanh")),
    activation("gelu", function("gelu")),
    activation("gelu_tanh", function("gelu", approximate="tanh")),
    activation("silu", function("silu")),
    activation("softplus", function("softplus")),
    activation("softmax", function("softmax", dim=-1), "s", "p:"),
    activation("log_softmax", function("log_softmax", dim=-1), "s", "p:"),
    Layer("linear", "affine", "x[256,256] W[256,256] b[256]", "256,256",
          lambda torch, x, W, b: torch.nn.functional.linear(x, W, b), {"W": (1, 0)}),
    Layer("linear", "linear", "x[8,64,256] W[256,256]", "8,64,256", lambda _torch, x, W: x @ W),
    Layer("linear", "bilinear", "x[64,64] z[64,64] W[64,64,32] b[32]", "64,32",
          lambda torch, x, z, W, b: torch.nn.functional.bilinear(x, z, W, b), {"W": (2, 0, 1)}),
    Layer("linear", "flatten", "x[64,14,14,64]", "64,12544", lambda _torch, x: x.flatten(1)),
    Layer("linear", "fully_connected", "x[64,7,7,64] W[3136,128] bias[128]", "64,128",
          lambda torch, x, W, bias: torch.addmm(bias, x.flatten(1), W)),
    Layer("losses", "log_loss", "q[4096,100]+ y[4096]<100", "ell:4096",
          lambda torch, q, y: torch.nn.functional.nll_loss(torch.log(q), y, reduction="none")),
    Layer("losses", "cross_entropy", SCORES, "ell:4096", function("cross_entropy", reduction="none")),
    Layer("losses", "smoothed_cross_entropy", SCORES, "ell:4096",
          function("cross_entropy", reduction="none", label_smoothing=0.1)),
    Layer("losses", "binary_cross_entropy", "s[512,1000] y[512,1000]", "ell:512,1000",
          function("binary_cross_entropy_with_logits", reduction="none")),
    Layer("losses", "squared_error", "x[512,1000] y[512,1000]", "ell:512",
          lambda torch, x, y: torch.nn.functional.mse_loss(x, y, reduction="none").sum(1)),
    Layer("losses", "mean_squared_error", "x[512,1000] y[512,1000]", "loss:", function("mse_loss")),
    Layer("losses", "batch_mean", "ell[100000]", "loss:", lambda torch, ell: torch.mean(ell)),
    Layer("normalization", "batchnorm1d", "x[2048,256] gamma[256] beta[256]", "2048,256",
          lambda torch, x, g, b: torch.nn.functional.batch_norm(x, None, None, g, b, training=True)),
    Layer("normalization", "layernorm", "x[32,49,512] gamma[512] beta[512]", ELEMENTS,
          lambda torch, x, g, b: torch.nn.functional.layer_norm(x, g.shape, g, b)),
    Layer("normalization", "rmsnorm", "x[32,49,512] gamma[512]", ELEMENTS, root),
    Layer("normalization", "dropout", "x[32,49,512] mask[32,49,512]<2", ELEMENTS,
          lambda torch, x, mask: torch.where(mask > 0, x / 0.5, 0.0)),
    Layer("sequences", "embedding", "E[10000,64] tok[32,64]<10000", "32,64,64",
          lambda torch, E, tok: torch.nn.functional.embedding(tok, E)),
    Layer("sequences", "positional_encoding", "x[32,256,256]", "32,256,256"),
    Layer("sequences", "attention", QKV, "4,256,4,32", function("scaled_dot_product_attention"), BY_HEAD),
    Layer("sequences", "causal_attention", QKV, "4,256,4,32",
          function("scaled_dot_product_attention", is_causal=True), BY_HEAD),
    Layer("sequences", "causal_attention", "q[1,1024,4,32] k[1,1024,4,32] v[1,1024,4,32]", "1,1024,4,32",
          function("scaled_dot_product_attention", is_causal=True), BY_HEAD, note="1024"),
    Layer("sequences", "multi_head_attention", PROJECTED, "4,256,128", heads(False)),
    Layer("sequences", "causal_multi_head_attention", PROJECTED, "4,256,128", heads(True)),
    Layer("sequences", "rnn_cell", "x[256,128] h[256,256] W[128,256] U[256,256] bias[256]", "256,256", cell, CELL),
    Layer("sequences", "rnn4", "x[256,4,128] h[256,256] W[128,256] U[256,256] bias[256]", "256,4,256", four, CELL),
    Layer("sequences", "lstm_cell", "x[128,128] h[128,128] c[128,128] W[128,4,128] U[128,4,128] bias[4,128]",
          "h_next:128,128", lstm),
    Layer("sequences", "gru_cell", "x[128,128] h[128,128] W[128,3,128] U[128,3,128] bias[3,128] bias2[3,128]",
          "128,128", gru),
)  # fmt: skip
