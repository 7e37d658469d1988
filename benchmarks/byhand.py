"""Layers in NumPy as an expert writes them, forward and backward by hand; channels last, workspaces kept.

In: arrays. Out: arrays. The one rule: all that costs is a product of matrices or a whole-array operation into memory
that is there; a layer is made once for its shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .workload import Array

BLOCK = 4 << 20  # bytes of unfolded windows at a time: what stays in a cache
THIN = 16  # channels below which a product for each position of the kernel is too thin for BLAS


class Windows:
    """The windows of a padded tensor [batch, axes, channels] and the slices that each position of a kernel sees."""

    def __init__(
        self, shape: Sequence[int], kernel: Sequence[int], stride: int, padding: int, dilation: int, value: float = 0.0
    ) -> None:
        self.padding = padding
        self.space = shape[1:-1]
        self.padded_shape = (shape[0], *(n + 2 * padding for n in self.space), shape[-1])
        self.padded = np.full(self.padded_shape, value, np.float32) if padding else None
        self.kernel = tuple(kernel)
        reach = [dilation * (k - 1) + 1 for k in kernel]
        self.out = tuple((n - r) // stride + 1 for n, r in zip(self.padded_shape[1:-1], reach, strict=True))
        self.stride, self.dilation = stride, dilation
        self.inner = (slice(None), *(slice(padding, padding + n) for n in self.space))

    def pad(self, x: Array) -> Array:
        """The tensor with its rim."""
        if self.padded is None:
            return x
        self.padded[self.inner] = x
        return self.padded

    def unpad(self, x: Array) -> Array:
        return x[self.inner]

    def taps(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Each position of the kernel with the part of the padded tensor that it sees."""
        for tap in product(*map(range, self.kernel)):
            ends = [(t * self.dilation, n) for t, n in zip(tap, self.out, strict=True)]
            yield tap, (slice(None), *(slice(o, o + self.stride * (n - 1) + 1, self.stride) for o, n in ends))

    def view(self, x: Array) -> Array:
        """[batch, out, kernel, channels], without a copy."""
        steps, dims = x.strides, len(self.out)
        strides = (
            steps[0],
            *(s * self.stride for s in steps[1 : dims + 1]),
            *(s * self.dilation for s in steps[1 : dims + 1]),
        )
        return as_strided(x, (x.shape[0], *self.out, *self.kernel, x.shape[-1]), (*strides, steps[-1]), writeable=False)


class Conv:
    """y[b,o,k] = sum over taps t and channels c of K[t,c,k] x[b, s*o + d*t - p, c], in groups of channels.

    A kernel without strides is one product of matrices. Else windows are unfolded into a workspace, a few images at a
    time; x's gradient is a product for each tap where that is wide enough, else one product folded back.
    """

    def __init__(
        self, x: Array, kernel: Array, bias: Array | None = None, *, stride: int = 1, padding: int = 0,
        dilation: int = 1, groups: int = 1, need_dx: bool = True,
    ) -> None:  # fmt: skip
        self.windows = Windows(x.shape, kernel.shape[:-2], stride, padding, dilation)
        self.groups, self.need_dx = groups, need_dx
        self.taps, self.positions = prod(kernel.shape[:-2]), prod(self.windows.out)
        self.c, self.o = kernel.shape[-2], kernel.shape[-1] // groups
        self.direct = self.taps == 1 and stride == 1 and padding == 0 and groups == 1
        one = self.positions * self.taps * self.c * 4 * groups
        self.block = max(1, min(len(x), BLOCK // one))
        self.y = np.empty((len(x), *self.windows.out, kernel.shape[-1]), np.float32)
        if not self.direct:
            self.columns = np.empty((groups, self.block, *self.windows.out, *self.windows.kernel, self.c), np.float32)
            self.d_columns = np.empty_like(self.columns) if self.c < THIN or groups > 1 else self.columns[:0]
        self.dx = np.zeros(self.windows.padded_shape, np.float32)
        self.part = np.empty((self.block, *self.windows.out, self.c), np.float32)

    def forward(self, x: Array, kernel: Array, bias: Array | None = None) -> Array:
        self.x, self.kernel, self.bias = x, kernel, bias
        y = self.y
        if self.direct:
            np.matmul(x.reshape(-1, self.c), kernel.reshape(self.c, self.o), out=y.reshape(-1, self.o))
        else:
            self.padded = self.windows.pad(x)
            weights = self.split(kernel.reshape(-1, kernel.shape[-1]))
            for start, columns in self.unfolded():
                part = y[start : start + columns.shape[1]]
                if self.groups == 1:
                    np.matmul(self.flat(columns)[0], weights[0], out=part.reshape(-1, self.o))
                else:
                    found = np.matmul(self.flat(columns), weights)
                    part.reshape(-1, self.groups, self.o)[...] = found.transpose(1, 0, 2)
        if bias is not None:
            y += bias
        return y

    def backward(self, dy: Array) -> list[Array]:
        dy = np.ascontiguousarray(dy)
        d_bias = [] if self.bias is None else [dy.reshape(-1, dy.shape[-1]).sum(axis=0)]
        if self.direct:
            flat = dy.reshape(-1, self.o)
            dk = np.matmul(self.x.reshape(-1, self.c).T, flat).reshape(self.kernel.shape)
            dx = np.matmul(flat, self.kernel.reshape(self.c, self.o).T).reshape(self.x.shape)
            return [dx, dk, *d_bias]
        dk = np.zeros((self.groups, self.taps * self.c, self.o), np.float32)
        weights = self.split(self.kernel.reshape(-1, self.kernel.shape[-1]))
        self.dx[...] = 0
        for start, columns in self.unfolded():
            count = columns.shape[1]
            part = dy[start : start + count]
            flat = self.split(part.reshape(-1, part.shape[-1]))
            dk += np.matmul(self.flat(columns).swapaxes(1, 2), flat)
            if self.need_dx:
                self.fold(self.dx[start : start + count], flat, weights, count)
        d_kernel = dk.transpose(1, 0, 2).reshape(self.kernel.shape)
        return [self.windows.unpad(self.dx), d_kernel, *d_bias]

    def fold(self, dx: Array, dy: Array, weights: Array, count: int) -> None:
        """Add to dx what its windows' gradients are."""
        if self.groups == 1 and self.c >= THIN:
            part = self.part[:count]
            for k, (_, cut) in enumerate(self.windows.taps()):
                np.matmul(dy[0], weights[0, k * self.c : (k + 1) * self.c].T, out=part.reshape(-1, self.c))
                dx[cut] += part
            return
        columns = self.d_columns[:, :count]
        np.matmul(dy, weights.swapaxes(1, 2), out=self.flat(columns))
        for tap, cut in self.windows.taps():
            for g in range(self.groups):
                dims = (slice(None),) * (1 + len(tap))
                dx[(*cut, slice(g * self.c, (g + 1) * self.c))] += columns[g][(*dims, *tap)]

    def unfolded(self) -> Iterator[tuple[int, Array]]:
        """The windows of a few images at a time, group by group."""
        for start in range(0, len(self.padded), self.block):
            view = self.windows.view(self.padded[start : start + self.block])
            columns = self.columns[:, : len(view)]
            if not columns.flags.c_contiguous:
                columns = np.empty(columns.shape, np.float32)
            for g in range(self.groups):
                np.copyto(columns[g], view[..., g * self.c : (g + 1) * self.c])
            yield start, columns

    def flat(self, columns: Array) -> Array:
        return columns.reshape(self.groups, -1, self.taps * self.c)

    def split(self, matrix: Array) -> Array:
        """[rows, groups*columns] as [groups, rows, columns]."""
        return matrix.reshape(len(matrix), self.groups, -1).transpose(1, 0, 2)


class Depthwise:
    """y[b,o,c] = sum over taps of K[t,c] x[b, o + t - p, c]: a multiply-add of whole images for each tap."""

    def __init__(self, x: Array, kernel: Array, *, stride: int = 1, padding: int = 0) -> None:
        self.windows = Windows(x.shape, kernel.shape[:-2], stride, padding, 1)
        self.y = np.empty((len(x), *self.windows.out, x.shape[-1]), np.float32)
        self.part = np.empty(self.y.shape[1:], np.float32)
        self.dx = np.empty(self.windows.padded_shape, np.float32)

    def forward(self, x: Array, kernel: Array) -> Array:
        self.x, self.kernel = self.windows.pad(x), kernel[..., 0]
        for image, y in zip(self.x, self.y, strict=True):
            for k, (tap, cut) in enumerate(self.windows.taps()):
                if k:
                    np.multiply(image[cut[1:]], self.kernel[tap], out=self.part)
                    y += self.part
                else:
                    np.multiply(image[cut[1:]], self.kernel[tap], out=y)
        return self.y

    def backward(self, dy: Array) -> list[Array]:
        self.dx[...] = 0
        dk = np.zeros(self.kernel.shape, np.float32)
        axes = tuple(range(self.part.ndim - 1))
        for image, d_image, part in zip(self.x, self.dx, dy, strict=True):
            for tap, cut in self.windows.taps():
                np.multiply(image[cut[1:]], part, out=self.part)
                dk[tap] += self.part.sum(axis=axes)
                np.multiply(part, self.kernel[tap], out=self.part)
                d_image[cut[1:]] += self.part
        return [self.windows.unpad(self.dx), dk[..., None]]


class Transposed:
    """The adjoint of a convolution as a layer: one product, its result folded."""

    def __init__(self, x: Array, kernel: Array, *, stride: int = 1, padding: int = 0) -> None:
        space = tuple(stride * (n - 1) + k for n, k in zip(x.shape[1:-1], kernel.shape[:-2], strict=True))
        self.full = np.zeros((len(x), *space, kernel.shape[-1]), np.float32)
        self.windows = Windows(self.full.shape, kernel.shape[:-2], stride, 0, 1)
        self.cut = (slice(None), *(slice(padding, n - padding) for n in space))
        self.c, self.o = kernel.shape[-2:]

    def forward(self, x: Array, kernel: Array) -> Array:
        self.x, self.kernel = x, kernel
        self.full[...] = 0
        flat = x.reshape(-1, self.c)
        for tap, cut in self.windows.taps():
            self.full[cut] += (flat @ kernel[tap]).reshape(*x.shape[:-1], self.o)
        return self.full[self.cut]

    def backward(self, dy: Array) -> list[Array]:
        whole = np.zeros(self.full.shape, np.float32)
        whole[self.cut] = dy
        columns = np.ascontiguousarray(self.windows.view(whole)).reshape(-1, prod(self.kernel.shape[:-2]) * self.o)
        flat = np.moveaxis(self.kernel, -2, -1).reshape(-1, self.c)
        dk = (columns.T @ self.x.reshape(-1, self.c)).reshape(*self.kernel.shape[:-2], self.o, self.c)
        return [(columns @ flat).reshape(self.x.shape), np.moveaxis(dk, -1, -2)]


class MaxPool:
    """The greatest of each window, and which one: the first of equal ones."""

    def __init__(self, x: Array, *, window: int, stride: int, padding: int = 0) -> None:
        self.windows = Windows(x.shape, (window,) * (x.ndim - 2), stride, padding, 1, -np.inf)
        shape = (len(x), *self.windows.out, x.shape[-1])
        self.y, self.which = np.empty(shape, np.float32), np.empty(shape, np.int8)
        self.dx = np.empty(self.windows.padded_shape, np.float32)

    def forward(self, x: Array) -> Array:
        padded = self.windows.pad(x)
        for k, (_, cut) in enumerate(self.windows.taps()):
            if k:
                seen = padded[cut]
                np.copyto(self.which, k, where=seen > self.y)
                np.maximum(self.y, seen, out=self.y)
            else:
                self.y[...] = padded[cut]
                self.which[...] = 0
        return self.y

    def backward(self, dy: Array) -> list[Array]:
        self.dx[...] = 0
        for k, (_, cut) in enumerate(self.windows.taps()):
            self.dx[cut] += dy * (self.which == k)
        return [self.windows.unpad(self.dx)]


class AvgPool:
    """The average of each window."""

    def __init__(self, x: Array, *, window: int, stride: int) -> None:
        self.windows = Windows(x.shape, (window,) * (x.ndim - 2), stride, 0, 1)
        self.y = np.empty((len(x), *self.windows.out, x.shape[-1]), np.float32)
        self.dx = np.empty(x.shape, np.float32)
        self.share = np.float32(1 / window ** (x.ndim - 2))

    def forward(self, x: Array) -> Array:
        for k, (_, cut) in enumerate(self.windows.taps()):
            if k:
                self.y += x[cut]
            else:
                self.y[...] = x[cut]
        self.y *= self.share
        return self.y

    def backward(self, dy: Array) -> list[Array]:
        self.dx[...] = 0
        part = dy * self.share
        for _, cut in self.windows.taps():
            self.dx[cut] += part
        return [self.dx]


class BatchNorm:
    """By the mean and variance of the batch, for each channel."""

    def __init__(self, x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5) -> None:
        self.eps = np.float32(eps)
        self.hat, self.part = np.empty_like(x.reshape(-1, x.shape[-1])), np.empty_like(x.reshape(-1, x.shape[-1]))

    def forward(self, x: Array, gamma: Array, beta: Array) -> Array:
        rows, self.gamma = x.reshape(-1, x.shape[-1]), gamma
        self.mu = rows.mean(axis=0)
        np.subtract(rows, self.mu, out=self.hat)
        self.var = np.einsum("nc,nc->c", self.hat, self.hat) / np.float32(len(rows))
        self.rsqrt = 1 / np.sqrt(self.var + self.eps)
        self.hat *= self.rsqrt
        y: Array = self.hat * gamma
        y += beta
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> list[Array]:
        rows = dy.reshape(-1, dy.shape[-1])
        d_beta, d_gamma = rows.sum(axis=0), np.einsum("nc,nc->c", rows, self.hat)
        count = np.float32(len(rows))
        dx = np.multiply(self.hat, d_gamma / count, out=self.part)
        np.subtract(rows, dx, out=dx)
        dx -= d_beta / count
        dx *= self.gamma * self.rsqrt
        return [dx.reshape(dy.shape), d_gamma, d_beta]


class LocalResponseNorm:
    """x over the root of the mean square of neighbouring channels; the sum over neighbours is a banded matrix."""

    def __init__(self, x: Array, *, window: int, alpha: float, beta: float, k: float) -> None:
        assert beta == 0.75  # two square roots instead of a power
        c = np.arange(x.shape[-1])
        self.band = (np.abs(c[:, None] - c) <= window // 2).astype(np.float32)
        self.alpha, self.k = np.float32(alpha / window), np.float32(k)
        rows = x.reshape(-1, x.shape[-1])
        self.s, self.root, self.part = (np.empty_like(rows) for _ in range(3))
        self.y = np.empty_like(x)

    def forward(self, x: Array) -> Array:
        self.x = rows = x.reshape(-1, x.shape[-1])
        np.square(rows, out=self.part)
        np.matmul(self.part, self.band, out=self.s)
        self.s *= self.alpha
        self.s += self.k
        np.sqrt(self.s, out=self.root)
        np.sqrt(self.root, out=self.part)
        self.root *= self.part  # s ** 0.75
        np.divide(rows, self.root, out=self.y.reshape(rows.shape))
        return self.y

    def backward(self, dy: Array) -> list[Array]:
        rows, y = dy.reshape(self.x.shape), self.y.reshape(self.x.shape)
        np.multiply(rows, y, out=self.part)
        self.part /= self.s
        around = self.part @ self.band
        around *= self.x
        around *= -2 * np.float32(0.75) * self.alpha
        dx = rows / self.root
        dx += around
        return [dx.reshape(dy.shape)]


class Relu:
    """max(x, 0)"""

    def __init__(self, x: Array) -> None:
        self.y, self.dx = np.empty_like(x), np.empty_like(x)

    def forward(self, x: Array) -> Array:
        return np.maximum(x, 0, out=self.y)

    def backward(self, dy: Array) -> list[Array]:
        return [np.multiply(dy, self.y > 0, out=self.dx)]


class Affine:
    """x W + b"""

    def __init__(self, x: Array, w: Array, b: Array) -> None:
        self.y = np.empty((len(x), w.shape[1]), np.float32)

    def forward(self, x: Array, w: Array, b: Array) -> Array:
        self.x, self.w = x, w
        np.matmul(x, w, out=self.y)
        self.y += b
        return self.y

    def backward(self, dy: Array) -> list[Array]:
        return [dy @ self.w.T, self.x.T @ dy, dy.sum(axis=0)]


class CrossEntropy:
    """logsumexp(s) - s[label], for each row."""

    def __init__(self, s: Array, labels: Array) -> None:
        self.p, self.rows = np.empty_like(s), np.arange(len(s))

    def forward(self, s: Array, labels: Array) -> Array:
        self.labels = labels
        top = s.max(axis=1, keepdims=True)
        np.subtract(s, top, out=self.p)
        found: Array = -self.p[self.rows, labels]
        np.exp(self.p, out=self.p)
        total = self.p.sum(axis=1, keepdims=True)
        self.p /= total
        found += np.log(total[:, 0])
        return found

    def backward(self, dy: Array) -> list[Array]:
        self.p[self.rows, self.labels] -= 1
        self.p *= dy[:, None]
        return [self.p]
