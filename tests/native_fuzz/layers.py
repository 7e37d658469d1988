"""Layers of random sizes: what networks are made of, where schedules turn.

In: Dice. Out: a text and the shapes of its inputs. The one rule: the inputs' sizes say those of all indices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from random_programs.words import Dice

Shapes = dict[str, tuple[int, ...]]
Made = tuple[str, Shapes]

POINTS = 6_000_000  # of one statement, about
SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 70)
LONG = (1, 3, 10, 100, 127, 128, 129, 255, 300, 512, 1000, 1025, 4096)
EPILOGUES = ("", "relu(@)", "tanh(@)", "2 * @ + 1", "@ * sigmoid(@)", "gelu(@)")


def sizes(dice: Dice, count: int, most: int = POINTS) -> list[int]:
    """Some sizes, whose product is not too large: small, or one or two of them long."""
    found = [dice.one_of(LONG) if dice.chance(12) else dice.one_of(SIZES) for _ in range(count)]
    while math.prod(found) > most:
        k = max(range(count), key=lambda n: found[n])
        found[k] = dice.one_of((found[k] // 2, found[k] // 3 + 1, 1))
    return found


def ended(dice: Dice, text: str, indices: str, shapes: Shapes, extents: Mapping[str, int]) -> Made:
    """The same, with something done to `y`."""
    lines = [text]
    if dice.chance(40):
        bias = dice.one_of(indices.split(","))
        shapes["bias"] = (extents[bias],)
        lines.append(f"h[{indices}] = y[{indices}] + bias[{bias}]")
        if dice.chance(60):
            what = dice.one_of(EPILOGUES[1:]).replace("@", f"h[{indices}]").replace("gelu", "tanh")
            lines.append(f"z[{indices}] = {what}")
    elif dice.chance(30):
        what = dice.one_of(EPILOGUES[1:]).replace("@", f"y[{indices}]").replace("gelu", "tanh")
        lines.append(f"z[{indices}] = {what}")
    return "\n".join(lines) + "\n", shapes


def product(dice: Dice) -> Made:
    """A product of two tensors: batches, rows, columns, what is summed, each in any order and number."""
    names = dict(zip("abmnkl", sizes(dice, 6), strict=True))
    batch = [i for i in "ab" if dice.chance(25)]
    rows, columns, summed = ["m"], ["n"], ["k"] + ["l"] * dice.chance(20)
    if dice.chance(15):
        rows = []
    if dice.chance(15):
        columns = []
    left, right = dice.shuffled([*batch, *rows, *summed]), dice.shuffled([*batch, *columns, *summed])
    out = dice.shuffled([*batch, *rows, *columns]) or ["a"]
    if out == ["a"]:
        left = [*left, "a"]
    sign = "-" * dice.chance(15)
    text = f"y[{','.join(out)}] += {sign}A[{','.join(left)}] * B[{','.join(right)}]"
    shapes = {"A": tuple(names[i] for i in left), "B": tuple(names[i] for i in right)}
    return ended(dice, text, ",".join(out), shapes, names)


def convolution(dice: Dice) -> Made:
    """1 to 3 axes, channels first or last, strides, dilations, groups, padding, depthwise."""
    axes = dice.weighted(((30.0, 1), (60.0, 2), (10.0, 3)))
    places, taps = "ijk"[:axes], ["di", "dj", "dk"][:axes]
    batch, channels, outputs, *extents = sizes(dice, 3 + axes, POINTS // 9)
    window = [dice.one_of((1, 2, 3, 3, 5, 7)) for _ in range(axes)]
    stride, apart = dice.one_of((1, 1, 1, 2, 3)), dice.one_of((1, 1, 1, 2))
    pad = dice.chance(30)
    read, size, ends = [], [], dict(zip(places, extents, strict=True))
    for i, d, n, w in zip(places, taps, extents, window, strict=True):
        at = f"{stride}*{i}+{apart}*{d}".replace("1*", "")
        size.append(stride * (n - 1) + apart * (w - 1) + 1)
        if pad and stride == 1:
            size[-1] = max(1, size[-1] - 2 * (w // 2))
        read.append(f"pad({at}-{w // 2})" if pad else at)
    kind = dice.weighted(((70.0, "full"), (20.0, "depthwise"), (10.0, "grouped")))
    where = f" where {', '.join(f'{i} < {ends[i]}' for i in places)}" if pad else ""
    first = dice.chance(30)
    group = dice.one_of((1, 2, 4)) if kind == "grouped" else 0
    inner = {"full": ["c"], "depthwise": ["c"], "grouped": ["g", "c"]}[kind]
    result = {"full": ["o"], "depthwise": ["c"], "grouped": ["g", "o"]}[kind]
    weights = {"full": ["c", "o"], "depthwise": ["c"], "grouped": ["g", "c", "o"]}[kind]
    known = {"b": batch, "c": channels, "o": outputs, "g": group, **dict(zip(taps, window, strict=True)), **ends}
    x = ["b", *inner, *read] if first else ["b", *read, *inner]
    y = ["b", *result, *places] if first else ["b", *places, *result]
    w = [*weights, *taps] if first else [*taps, *weights]
    text = f"y[{','.join(y)}] += W[{','.join(w)}] * x[{','.join(x)}]{where}"
    length = dict(zip(read, size, strict=True))
    shapes = {"x": tuple(length.get(i) or known[i] for i in x), "W": tuple(known[i] for i in w)}
    return ended(dice, text, ",".join(y), shapes, known)


def pooling(dice: Dice) -> Made:
    """The greatest or the mean of windows, which may overlap."""
    batch, channels, *extents = sizes(dice, 4, POINTS // 9)
    window, stride = dice.one_of((2, 2, 3, 4)), dice.one_of((1, 2, 2, 3))
    size = tuple(stride * (n - 1) + window for n in extents)
    order = dice.one_of((("b,{},c", "{0},{2},{3},{1}"), ("b,c,{}", "{0},{1},{2},{3}")))
    out, read = order[0].format("i,j"), order[0].format(f"{stride}*i+di,{stride}*j+dj".replace("1*", ""))
    op = dice.one_of(("max=", "+=", "min="))
    lengths = {"b": batch, "c": channels}
    axes = ["b", "I", "J", "c"] if out.endswith("c") else ["b", "c", "I", "J"]
    shape = tuple({**lengths, "I": size[0], "J": size[1]}[a] for a in axes)
    text = f"y[{out}] {op} x[{read}] where di < {window}, dj < {window}"
    return text + "\n", {"x": shape}


def rows(dice: Dice) -> Made:
    """Softmax, layer norm, log-softmax and others along an axis that may be any."""
    n, k, m = sizes(dice, 3)
    axis = dice.one_of("nkm")
    alone = ",".join(i for i in "nkm" if i != axis)
    kind = dice.one_of(("softmax", "norm", "logsumexp", "variance", "standard", "argmax"))
    at, count = "n,k,m", f"size(x, {'nkm'.index(axis)})"
    text = {
        "softmax": f"t[{alone}] max= x[{at}]\ne[{at}] = exp(x[{at}] - t[{alone}])\ns[{alone}] += e[{at}]\n"
        f"y[{at}] = e[{at}] / s[{alone}]\n",
        "norm": f"s[{alone}] += x[{at}]**2\ny[{at}] = x[{at}] / sqrt(s[{alone}] + 1e-3)\n",
        "logsumexp": f"y[{alone}] = logsumexp[{axis}](x[{at}])\n",
        "variance": f"u[{alone}] += x[{at}] / {count}\nv[{alone}] += (x[{at}] - u[{alone}])**2 / {count}\n"
        f"y[{at}] = (x[{at}] - u[{alone}]) / sqrt(v[{alone}] + 1e-3)\n",
        "standard": f"u[{axis}] += x[{at}]\ny[{at}] = x[{at}] - u[{axis}]\n",
        "argmax": f"p[{alone}] = argmax[{axis}](x[{at}])\ny[{alone}] max= x[{at}]\nz[{alone}] = 1.0 * p[{alone}]\n",
    }[kind]
    return text, {"x": (n, k, m)}


def attention(dice: Dice) -> Made:
    """Of rows to rows, perhaps to none that come later."""
    batch, heads, rows_, columns, depth, values = sizes(dice, 6, POINTS // 4)
    mask = dice.chance(50)
    columns = rows_ if mask else columns
    where = " where t <= q" if mask else ""
    text = "s[b,h,q,t] += Q[b,q,h,d] * K[b,t,h,d]\n"
    text += f"m[b,h,q] max= s[b,h,q,t]{where}\ne[b,h,q,t] = exp(s[b,h,q,t] - m[b,h,q]){where}\n"
    text += "n[b,h,q] += e[b,h,q,t]\np[b,h,q,t] = e[b,h,q,t] / n[b,h,q]\ny[b,q,h,v] += p[b,h,q,t] * V[b,t,h,v]\n"
    shapes = {
        "Q": (batch, rows_, heads, depth),
        "K": (batch, columns, heads, depth),
        "V": (batch, columns, heads, values),
    }
    return text, shapes


def local(dice: Dice) -> Made:
    """Sums over a few neighbours: correlation, local response, weights at each place."""
    b, n, m, c, k = sizes(dice, 5, POINTS // 2)
    w = dice.one_of((1, 2, 3, 5))
    kind = dice.one_of(("response", "correlation", "unshared", "outer"))
    if kind == "response":
        text = f"s[b,n,c] += x[b,n,pad(c+k-{w // 2})]**2 where k < {w}, c < {c}\ny[b,n,c] = x[b,n,c] / (1 + s[b,n,c])\n"
        return text, {"x": (b, n, c)}
    if kind == "correlation":
        return "y[b,n,m,d] += f[b,n,m,c] * g[b,n+d,m,c]\n", {"f": (b, n, m, c), "g": (b, n + w - 1, m, c)}
    if kind == "unshared":
        return "y[b,n,k] += x[b,n+d,c] * W[n,d,c,k]\n", {"x": (b, n + w - 1, c), "W": (n, w, c, min(k, 16))}
    return "y[n,m] = x[n] * z[m] + x[n] / (2 + z[m]**2)\n", {"x": (n,), "z": (m,)}


KINDS: tuple[Callable[[Dice], Made], ...] = (
    product,
    product,
    convolution,
    convolution,
    pooling,
    rows,
    attention,
    local,
)


def layer(dice: Dice) -> Made:
    """One of them."""
    return dice.one_of(KINDS)(dice)
