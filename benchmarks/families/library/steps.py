"""Layers that run step by step, beside PyTorch's own where it has them."""
# ruff: noqa: N803

from __future__ import annotations

from typing import Any

from .layer import Layer


def rnn(torch: Any, x: Any, h: Any, W: Any, U: Any, bias: Any) -> Any:
    weights = [W.T, U.T, bias, torch.zeros_like(bias)]
    return torch.rnn_tanh(x, h[None], weights, True, 1, 0.0, False, False, True)[0]


def lstm(torch: Any, x: Any, h: Any, c: Any, W: Any, U: Any, bias: Any) -> Any:
    weights = _weights(torch, W, U, bias)
    return torch.lstm(x, (h[None], c[None]), weights, True, 1, 0.0, False, False, True)[0]


def gru(torch: Any, x: Any, h: Any, W: Any, U: Any, bias: Any, bias2: Any) -> Any:
    weights = [W.flatten(1).T, U.flatten(1).T, bias.flatten(), bias2.flatten()]
    return torch.gru(x, h[None], weights, True, 1, 0.0, False, False, True)[0]


def several(torch: Any, x: Any, h: Any, c: Any, W: Any, U: Any, bias: Any) -> Any:
    weights = [w for n in range(len(W)) for w in _weights(torch, W[n], U[n], bias[n])]
    return torch.lstm(x, (h, c), weights, True, len(W), 0.0, False, False, True)[0]


def both(torch: Any, x: Any, h: Any, c: Any, W: Any, U: Any, bias: Any) -> Any:
    weights = [w for n in range(2) for w in _weights(torch, W[n], U[n], bias[n])]
    return torch.lstm(x, (h, c), weights, True, 1, 0.0, False, True, True)[0]


def _weights(torch: Any, W: Any, U: Any, bias: Any) -> list[Any]:
    flat = bias.flatten()
    return [W.flatten(1).T, U.flatten(1).T, flat, torch.zeros_like(flat)]


STATES = "h0[32,128] c0[32,128] W[128,4,128] U[128,4,128] bias[4,128]"
SMALL = {"W": 0.1, "U": 0.1}  # that states neither saturate nor run away
TWICE = "h0[2,16,64] c0[2,16,64] W[2,64,4,64] U[2,64,4,64] bias[2,4,64]"
HEADS = "q[4,128,4,16] k[4,128,4,16] v[4,128,4,16]"

LAYERS = (
    Layer("sequences", "rnn", "x[32,64,128] h0[32,128] W[128,128] U[128,128] bias[128]",
          "32,64,128", rnn, scales=SMALL),
    Layer("sequences", "lstm", f"x[32,64,128] {STATES}", "32,64,128", lstm, scales=SMALL),
    Layer("sequences", "gru", "x[32,64,128] h0[32,128] W[128,3,128] U[128,3,128] bias[3,128] bias2[3,128]",
          "32,64,128", gru, scales=SMALL),
    Layer("sequences", "bidirectional_lstm", f"x[16,64,64] {TWICE}", "16,64,128", both, scales=SMALL),
    Layer("sequences", "stacked_lstm", f"x[16,64,64] {TWICE}", "16,64,64", several, scales=SMALL),
    Layer("sequences", "linear_attention", HEADS, "4,128,4,16"),
    Layer("sequences", "state_space", "x[8,256,64] decay[64,16] into[64,16] out[64,16] skip[64]", "8,256,64",
          scales={"decay": 0.2}),
    Layer("sequences", "moving_average", "x[8,1024,64]", "8,1024,64"),
    Layer("paths", "hmm_forward", "start[64] trans[64,64] emit[8,256,64]", "ell:8"),
    Layer("paths", "viterbi", "start[64] trans[64,64] emit[8,256,64]", "score:8", gradients=False),
    Layer("paths", "crf", "emit[8,256,32] tag[8,256]<32 start[32] trans[32,32]", "ell:8"),
    Layer("paths", "edit_distance", "x[4,200] y[4,200] cost[3]", "d:4"),
    Layer("paths", "dtw", "x[4,200,3] y[4,200,3]", "d:4"),
    Layer("paths", "soft_dtw", "x[4,200,3] y[4,200,3]", "d:4"),
    Layer("iterations", "sinkhorn", "C[256,256] a[256]+ b[256]+", "P:256,256"),
    Layer("iterations", "heat", "x[8,128,128]", "8,128,128"),
    Layer("iterations", "wave", "x[8,1024]", "8,11,1024"),
)  # fmt: skip
