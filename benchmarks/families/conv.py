"""Convolutions: a table of cases, and what each library does with a case."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..byhand import Conv, Depthwise, Transposed, Windows
from ..libraries import Fastest, by_hand, equations, in_numpy, jitted, taped, torch_peers
from ..workload import Array, Build, Workload, normals


@dataclass(frozen=True)
class Case:
    """x [batch, axes, channels] and a kernel [axes, channels in a group, channels out]."""

    name: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @property
    def dims(self) -> int:
        return len(self.x) - 2

    @property
    def out(self) -> tuple[int, ...]:
        """The shape of y."""
        space = zip(self.x[1:-1], self.kernel, strict=False)
        reach = [(n + 2 * self.padding - self.dilation * (k - 1) - 1) // self.stride + 1 for n, k in space]
        return (self.x[0], *reach, self.kernel[-1])

    @property
    def flops(self) -> int:
        return 2 * prod(self.out) * prod(self.kernel[:-1])


CASES = (
    Case("LeNet conv1, 5x5", (64, 28, 28, 1), (5, 5, 1, 6), padding=2),
    Case("LeNet conv2, 5x5", (64, 14, 14, 6), (5, 5, 6, 16)),
    Case("AlexNet conv1, 11x11 stride 4", (8, 227, 227, 3), (11, 11, 3, 96), stride=4),
    Case("AlexNet conv2, 5x5", (8, 27, 27, 96), (5, 5, 96, 256), padding=2),
    Case("ResNet 3x3, 56x56x64", (4, 56, 56, 64), (3, 3, 64, 64), padding=1),
    Case("ResNet 3x3, 28x28x128", (4, 28, 28, 128), (3, 3, 128, 128), padding=1),
    Case("ResNet 3x3, 14x14x256", (4, 14, 14, 256), (3, 3, 256, 256), padding=1),
    Case("1x1, 56x56x64 to 256", (4, 56, 56, 64), (1, 1, 64, 256)),
    Case("3x3 stride 2, 56x56x64", (4, 56, 56, 64), (3, 3, 64, 128), stride=2, padding=1),
    Case("3x3 dilation 2, 28x28x128", (4, 28, 28, 128), (3, 3, 128, 128), padding=2, dilation=2),
    Case("5x5 in 2 groups, 27x27x96", (8, 27, 27, 96), (5, 5, 48, 256), padding=2, groups=2),
    Case("3x3 in 32 groups, 28x28x128", (4, 28, 28, 128), (3, 3, 4, 128), padding=1, groups=32),
    Case("1-d, 5 taps, 1024x64", (16, 1024, 64), (5, 64, 64), padding=2),
    Case("3-d, 3x3x3, 16x28x28x16", (2, 16, 28, 28, 16), (3, 3, 3, 16, 32), padding=1),
)
LAYERS = {1: "conv1d", 2: "conv2d_nobias", 3: "conv3d"}


# -- JAX and PyTorch -----------------------------------------------------------------------------------------


def _channels_first(dims: int) -> dict[str, tuple[int, ...]]:
    """x and y as [batch, channels, axes], the kernel as [out, in, axes]."""
    axes = tuple(range(dims))
    data = (0, dims + 1, *(a + 1 for a in axes))
    return {"x": data, "y": data, "K": (dims + 1, dims, *axes)}


def _in_jax(case: Case, channels_last: bool, _xp: Any, x: Any, kernel: Any) -> Any:
    from jax import lax

    axes = "DHW"[3 - case.dims :]
    numbers = (f"N{axes}C", f"{axes}IO", f"N{axes}C") if channels_last else (f"NC{axes}", f"OI{axes}", f"NC{axes}")
    return lax.conv_general_dilated(
        x,
        kernel,
        (case.stride,) * case.dims,
        [(case.padding, case.padding)] * case.dims,
        rhs_dilation=(case.dilation,) * case.dims,
        dimension_numbers=numbers,
        feature_group_count=case.groups,
    )


def _channels_first_in_jax(case: Case) -> Build:
    """JAX on arrays that stand channels first before anything is timed."""
    orders = _channels_first(case.dims)

    def build(arrays: Any, gradients: bool) -> Any:
        turned = {n: np.ascontiguousarray(a.transpose(orders["y" if n == "dy" else n])) for n, a in arrays.items()}
        made = jitted(partial(_in_jax, case, False))(turned, gradients)

        def results(given: Any) -> Any:
            found = made.results(given)
            return {n: a.transpose(np.argsort(orders[n.removesuffix(".grad")])) for n, a in found.items()}

        return type(made)(made.run, results)

    return build


def _in_torch(case: Case, torch: Any, x: Any, kernel: Any) -> Any:
    call = getattr(torch.nn.functional, f"conv{case.dims}d")
    return call(x, kernel, None, case.stride, case.padding, case.dilation, case.groups)


# -- NumPy and autograd --------------------------------------------------------------------------------------


def _written(case: Case) -> Build:
    """Windows and einsum, as most people write a convolution and its gradients; groups as an axis of their own."""
    d, axes = case.dims, tuple(range(1, case.dims + 1))
    n, inner, outer = case.groups, case.kernel[-2], case.kernel[-1] // case.groups
    o, r = "uvw"[:d], "rst"[:d]
    rim = [(0, 0), *[(case.padding, case.padding)] * d, (0, 0)]
    every = (slice(None), *(slice(None, None, case.stride),) * d)

    def windows(x: Array, kernel: Array) -> Array:
        reach = [case.dilation * (k - 1) + 1 for k in kernel.shape[:d]]
        found = sliding_window_view(np.pad(x, rim), reach, axis=axes)
        return found[(*every, slice(None), *(slice(None, None, case.dilation),) * d)]

    def grouped(kernel: Array) -> Array:
        return kernel.reshape(*kernel.shape[:d], inner, n, outer)

    def forward(x: Array, kernel: Array) -> Array:
        seen = windows(x, kernel)
        if n == 1:
            y: Array = np.einsum(f"b{o}c{r},{r}ck->b{o}k", seen, kernel, optimize=True)
            return y
        seen = seen.reshape(*seen.shape[: d + 1], n, inner, *seen.shape[d + 2 :])
        y = np.einsum(f"b{o}gc{r},{r}cgk->b{o}gk", seen, grouped(kernel), optimize=True)
        return y.reshape(*y.shape[:-2], -1)

    def grouped_back(dy: Array, x: Array, kernel: Array) -> tuple[Array, list[Array]]:
        seen, parts = windows(x, kernel), grouped(kernel)
        seen = seen.reshape(*seen.shape[: d + 1], n, inner, *seen.shape[d + 2 :])
        dys = dy.reshape(*dy.shape[:-1], n, outer)
        dk = np.einsum(f"b{o}gc{r},b{o}gk->{r}cgk", seen, dys, optimize=True).reshape(kernel.shape)
        taps = [np.einsum(f"b{o}gk,cgk->b{o}gc", dys, parts[tap], optimize=True).reshape(*dy.shape[:-1], x.shape[-1])
                for tap in product(*map(range, kernel.shape[:d]))]  # fmt: skip
        return dk, taps

    def plain_back(dy: Array, x: Array, kernel: Array) -> tuple[Array, list[Array]]:
        dk = np.einsum(f"b{o}c{r},b{o}k->{r}ck", windows(x, kernel), dy, optimize=True)
        taps = [np.einsum(f"b{o}k,ck->b{o}c", dy, kernel[tap], optimize=True)
                for tap in product(*map(range, kernel.shape[:d]))]  # fmt: skip
        return dk, taps

    def backward(dy: Array, _y: Array, x: Array, kernel: Array) -> list[Array]:
        dk, parts = (plain_back if n == 1 else grouped_back)(dy, x, kernel)
        dx = np.zeros([n + before + after for n, (before, after) in zip(x.shape, rim, strict=True)], np.float32)
        for part, tap in zip(parts, product(*map(range, kernel.shape[:d])), strict=True):
            starts = [t * case.dilation for t in tap]
            cut = (slice(None), *(slice(s, s + case.stride * (n - 1) + 1, case.stride)
                                  for s, n in zip(starts, dy.shape[1:-1], strict=True)))  # fmt: skip
            dx[cut] += part
        inside = (slice(None), *(slice(case.padding, case.padding + n) for n in x.shape[1:-1]))
        return [dx[inside], dk]

    return in_numpy(forward, backward)


def tapped(case: Case, xp: Any, x: Any, kernel: Any) -> Any:
    """A product for each tap, added up: what autograd's users can write, as it has no fast convolution."""
    windows = Windows(x.shape, kernel.shape[:-2], case.stride, case.padding, case.dilation)
    rim = ((0, 0), *((case.padding, case.padding),) * case.dims, (0, 0))
    padded = xp.pad(x, rim, "constant") if case.padding else x
    rows = [xp.reshape(padded[cut], (-1, kernel.shape[-2])) for _, cut in windows.taps()]
    parts = [xp.dot(part, kernel[tap]) for part, (tap, _) in zip(rows, windows.taps(), strict=True)]
    return xp.reshape(sum(parts[1:], parts[0]), (len(x), *windows.out, kernel.shape[-1]))


# -- the rows ------------------------------------------------------------------------------------------------


def workload(case: Case) -> Workload:
    """A row of the table with all libraries that can do it."""
    options: dict[str, Any] = {"stride": case.stride, "padding": case.padding, "dilation": case.dilation}
    peers: dict[str, Build] = {
        "indexlang": _ours(case, options),
        "numpy": by_hand(partial(Conv, **options, groups=case.groups)),
        "jax": Fastest(
            (
                ("channels last", jitted(partial(_in_jax, case, True))),
                ("channels first", _channels_first_in_jax(case)),
            )
        ),
        **torch_peers(partial(_in_torch, case), _channels_first(case.dims)),
    }
    peers["einsum"] = _written(case)
    if case.groups == 1:
        peers["autograd"] = taped(partial(tapped, case))
    return Workload(case.name, normals({"x": case.x, "K": case.kernel}), case.out, peers, case.flops)


def _ours(case: Case, options: dict[str, Any]) -> Build:
    if case.groups > 1:
        return equations(_GROUPED, layer="grouped", groups=case.groups, **options)
    if case.dims == 2:
        return equations("conv.idx", layer="conv2d_nobias", **options)
    return equations(_WITHOUT_BIAS[case.dims], layer="conv", **options)


_GROUPED = """
layer grouped(x[B,H,W,groups*C], K[R,S,C,groups*O]; groups=2, stride=1, dilation=1, padding=0) -> y[B,I,J,groups*O]:
    y[b,i,j,(g,o)] = (K[di,dj,c,(g,o)]
                      * x[b,pad(stride*i + dilation*di, padding),pad(stride*j + dilation*dj, padding),
                          (g,c)]) where g < groups
"""
_WITHOUT_BIAS = {
    1: """
layer conv(x[B,W,C], K[S,C,O]; stride=1, dilation=1, padding=0) -> y[B,J,O]:
    y[b,j,o] = K[dj,c,o] * x[b,pad(stride*j + dilation*dj, padding),c]
""",
    3: """
layer conv(x[B,D,H,W,C], K[Q,R,S,C,O]; stride=1, dilation=1, padding=0) -> y[B,E,I,J,O]:
    y[b,d,i,j,o] = (K[dd,di,dj,c,o]
                    * x[b,pad(stride*d + dilation*dd, padding),pad(stride*i + dilation*di, padding),
                        pad(stride*j + dilation*dj, padding),c])
""",
}


def _depthwise() -> Workload:
    x, kernel = (4, 56, 56, 128), (3, 3, 128, 1)
    case = Case("depthwise 3x3, 56x56x128", x, (3, 3, 1, 128), padding=1, groups=128)

    def in_jax(xp: Any, x: Any, kernel: Any) -> Any:
        return _in_jax(case, True, xp, x, xp.reshape(kernel, case.kernel))

    def in_torch(torch: Any, x: Any, kernel: Any) -> Any:
        return _in_torch(case, torch, x, kernel)

    def by_taps(xp: Any, x: Any, kernel: Any) -> Any:
        windows = Windows(x.shape, (3, 3), 1, 1, 1)
        padded = xp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "constant")
        parts = [padded[cut] * kernel[tap][:, 0] for tap, cut in windows.taps()]
        return sum(parts[1:], parts[0])

    layouts = {**_channels_first(2), "K": (2, 3, 0, 1)}
    peers: dict[str, Build] = {
        "indexlang": equations(_DEPTHWISE, layer="depthwise", padding=1),
        "numpy": by_hand(partial(Depthwise, padding=1)),
        "autograd": taped(by_taps),
        "jax": Fastest((("convolution", jitted(in_jax)), ("taps", jitted(by_taps)))),
        **torch_peers(in_torch, layouts),
    }
    flops = 2 * prod(case.out) * 9
    return Workload(case.name, normals({"x": x, "K": kernel}), case.out, peers, flops)


_DEPTHWISE = """
layer depthwise(x[B,H,W,C], K[R,S,C,M]; padding=0) -> y[B,I,J,C*M]:
    y[b,i,j,(c,m)] = K[di,dj,c,m] * x[b,pad(i + di, padding),pad(j + dj, padding),c]
"""


def _transposed() -> Workload:
    x, kernel, out = (8, 16, 16, 128), (4, 4, 128, 64), (8, 32, 32, 64)

    def in_jax(_xp: Any, x: Any, kernel: Any) -> Any:
        from jax import lax

        return lax.conv_general_dilated(
            x, kernel[::-1, ::-1], (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def in_torch(torch: Any, x: Any, kernel: Any) -> Any:
        return torch.nn.functional.conv_transpose2d(x, kernel, stride=2, padding=1)

    peers = {
        "indexlang": equations(_TRANSPOSED, layer="transposed", stride=2, padding=1),
        "numpy": by_hand(partial(Transposed, stride=2, padding=1)),
        "jax": jitted(in_jax),
        **torch_peers(in_torch, {**_channels_first(2), "K": (2, 3, 0, 1)}),
    }
    flops = 2 * prod(x) * prod(kernel) // x[-1]
    return Workload("transposed 4x4 stride 2, 16x16x128", normals({"x": x, "K": kernel}), out, peers, flops)


_TRANSPOSED = """
layer transposed(x[B,I,J,C], K[R,S,C,O]; stride=1, padding=0) -> y[B,
                 stride*(I-1)+R-2*padding,stride*(J-1)+S-2*padding,O]:
    y[b,pad(stride*i + di - padding),pad(stride*j + dj - padding),o] = K[di,dj,c,o] * x[b,i,j,c]
"""

WORKLOADS = (*map(workload, CASES), _depthwise(), _transposed())
