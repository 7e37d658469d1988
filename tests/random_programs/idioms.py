"""Layers of several lines, as people write them, at random sizes.

In: the program's Tensors. Out: lines. The one rule: index names are other ones in each statement.
"""

from __future__ import annotations

from collections.abc import Callable

from .scene import Tensors


def _sizes(t: Tensors, count: int, most: int | None = None) -> list[int]:
    """Sizes whose product is within what the scale allows."""
    found: list[int] = []
    points = 1
    for _ in range(count):
        n = t.size()
        while points * n > (most or t.scale.points):
            n = max(1, n // 2)
            if n == 1:
                break
        found.append(n)
        points *= n
    return found


def softmax(t: Tensors) -> list[str]:
    b, k = _sizes(t, 2)
    x = t.new_input((b, k))
    return [f"m_[i] max= {x}[i,j]", f"u_[b,k] = exp({x}[b,k] - m_[b])", "n_[p] = u_[p,q]", "y_[t,u] = u_[t,u] / n_[t]"]


def attention(t: Tensors) -> list[str]:
    n, d, e = _sizes(t, 3)
    q, k, v = t.new_input((n, d)), t.new_input((n, d)), t.new_input((n, e))
    mask = t.dice.one_of(("", " where u <= t", " where u <= t, t < u + 3"))
    inner = mask.replace("u", "w") if mask else ""
    return [
        f"s_[t,u] = {q}[t,d] * {k}[u,d] / {max(1, d)}**0.5",
        f"p_[t,u] = exp(s_[t,u] - logsumexp[w](s_[t,w])){mask}{inner.replace(' where', ',', 1)}",
        f"o_[i,j] = p_[i,k] * {v}[k,j]",
    ]


NEAR = ("u <= t, t < u + 3", "abs(t - u) <= 1", "t//2 == u//2", "t <= u, u < t + 2", "2*t <= u, u < 2*t + 3", "u <= t")


def banded(t: Tensors) -> list[str]:
    """Scores of which a band is read: under masks with any operator, or with -inf elsewhere."""
    dice = t.dice
    n, d, e = _sizes(t, 3)
    m = dice.one_of((n, n, max(1, n - 1), n + 1))
    q, k, v, g = (t.new_input(s) for s in ((n, d), (m, d), (m, e), (n, m)))
    mask = dice.one_of(NEAR) + dice.one_of(
        ("", "", "", ", t > 0", f", 3*u < {3 * m - 3}", f", {q}[t,0] > 0", f", {k}[u,0] > 0")
    )
    score = f"{q}[t,d] * {k}[u,d]"
    if dice.chance(50):
        power = dice.one_of((f"exp({score} / {d})", f"tanh({g}[t,u]) * {k}[u,d]", f"{q}[t,d] + {k}[u,d]"))
        lines = [f"p_[t,u] {dice.one_of(('=', '=', '=', '+=', '*=', 'max=', 'min='))} {power} where {mask}"]
    else:
        both = " and ".join(f"({part})" for part in mask.split(", "))
        choice = dice.one_of((f"where({both}, {{}}, -inf)", f"where(not ({both}), -inf, {{}})"))
        under = dice.one_of(("", "", "", f" where {q}[t,0] > -1", " where t > 0"))
        beside = dice.one_of(("", "", f" * {g}[t,u]", f" * {q}[t,0]", " * h_[t,u]", f" / (2 + {g}[t,u]**2)"))
        less = dice.one_of(("", " - logsumexp[w](s_[t,w])", " - logsumexp[w](s_[t,w])", f" - {q}[t,0]", f" + {g}[t,u]"))
        lines = [f"h_[t,u] {dice.one_of(('=', 'max='))} {score}"] if "h_" in beside else []
        lines += [f"s_[t,u] = {choice.format(f'sum[d]({score})')}{under}", f"p_[t,u] = exp(s_[t,u]{less}){beside}"]
    last = (
        f"o_[t,e] = p_[t,u] * {v}[u,e]",
        "o_[u] = p_[t,u]",
        "o_[t] max= p_[t,u]",
        f"o_[t] = logsumexp[u](p_[t,u]) where {mask}",
    )
    return [*lines, dice.one_of((last[0], *last))]


def layer_norm(t: Tensors) -> list[str]:
    b, i, c = _sizes(t, 3)
    x, g = t.new_input((b, i, c)), t.new_input((c,))
    return [
        f"m_[b,i] = mean[c]({x}[b,i,c])",
        f"v_[n,t] = mean[d](({x}[n,t,d] - m_[n,t])**2)",
        f"y_[p,q,r] = ({x}[p,q,r] - m_[p,q]) * rsqrt(v_[p,q] + 0.1) * {g}[r]",
    ]


def batch_norm(t: Tensors) -> list[str]:
    b, c = _sizes(t, 2)
    x = t.new_input((b, c))
    return [
        f"m_[c] = {x}[b,c] / {b}",
        f"v_[k] = ({x}[n,k] - m_[k])**2 / {b}",
        f"y_[i,j] = relu(({x}[i,j] - m_[j]) / sqrt(v_[j] + 0.01))",
    ]


def group_norm(t: Tensors) -> list[str]:
    b, i, g, c = _sizes(t, 4)
    x = t.new_input((b, i, g * c))
    return [
        f"m_[b,g] = mean[i,c]({x}[b,i,(g,c)]) where g < {g}, c < {c}",
        f"y_[b,i,(g,c)] = ({x}[b,i,(g,c)] - m_[b,g])**2 where c < {c}",
    ]


def convolution(t: Tensors) -> list[str]:
    k = t.dice.one_of((1, 2, 3))
    b, h, c, o = _sizes(t, 4, max(1, t.scale.points // k))
    x, w, bias = t.new_input((b, h + k - 1, c)), t.new_input((k, c, o)), t.new_input((o,))
    act = t.dice.one_of(("{}", "relu({})", "tanh({})"))
    return [
        f"h_[b,i,o] = {w}[d,c,o] * {act.format(f'{x}[b,i+d,c]')}",
        f"h_[n,j,k] += {bias}[k]",
        "y_[b,i,o] max= relu(h_[b,2*i+r,o]) where r < 2" if h > 2 else "y_[p,q,r] = relu(h_[p,q,r])",
    ]


def depthwise(t: Tensors) -> list[str]:
    b, h, c = _sizes(t, 3, max(1, t.scale.points // 3))
    x, w = t.new_input((b, h, c)), t.new_input((3, c))
    return [f"y_[b,i,c] = {w}[d,c] * {x}[b,pad(i+d,1),c]", "g_[n,k] = mean[i](y_[n,i,k])"]


def embedding(t: Tensors) -> list[str]:
    b, n, v, e = _sizes(t, 4)
    token, table = t.new_input((b, n), v), t.new_input((v, e))
    return [
        f"x_[b,t,e] = {table}[{token}[b,t],e]",
        "m_[n,d] max= x_[n,s,d]",
        f"shape h_[{v}]",
        f"h_[{token}[i,j]] += x_[i,j,k]",
    ]


def distances(t: Tensors) -> list[str]:
    n, m, d = _sizes(t, 3)
    x, z = t.new_input((n, d)), t.new_input((m, d))
    return [
        f"r_[i,j] = ({x}[i,d] - {z}[j,d])**2",
        "k_[p,q] = exp(-0.1*r_[p,q])",
        f"y_[n,e] = k_[n,m] * ({x}[n,e] - {z}[m,e])",
    ]


def moments(t: Tensors) -> list[str]:
    """Weighed differences and their squares, each side over any of the indices."""
    dice = t.dice
    size = dict(zip("ijk", _sizes(t, 3), strict=False))
    used: set[str] = set()

    def read() -> str:
        own = dice.shuffled([i for i in size if dice.chance(50)])
        used.update(own)
        name = t.new_input(tuple(size[i] for i in own) or (1,))
        return f"{name}[{','.join(own) or 0}]"

    power = dice.one_of(("**2", "**2", ""))
    parts = dice.shuffled([f"({read()} - {read()}){power}", *(read() for _ in range(dice.between(not power, 2)))])
    value = " * ".join(parts)
    free = [i for i in size if i in used and dice.chance(40)]
    return [f"y_[{','.join(dice.shuffled(free)) or 0}] = {value}"]


def guards(t: Tensors) -> list[str]:
    """Poles that a choice or a mask keeps away, once by name and once inline."""
    b, n = _sizes(t, 2)
    x = t.new_input((b, n))
    pole = t.dice.one_of(("sqrt({})", "log({})", "1 / {}", "rsqrt({})", "{}**0.5"))
    inside = f"{x}[i,j]"
    named = [f"r_[p,q] = {pole.format(f'{x}[p,q]')}", f"y_[i,j] = where({inside} > 0, r_[i,j], 0)"]
    inline = [f"y_[i,j] = where({inside} > 0, {pole.format(inside)}, 0)"]
    masked = [f"r_[p,q] = {pole.format(f'{x}[p,q]')}", f"y_[i] = r_[i,j] where {inside} > 0"]
    return t.dice.one_of((named, inline, inline, masked))


def one_hot(t: Tensors) -> list[str]:
    b, n, e = _sizes(t, 3)
    label, x, table = t.new_input((b,), n), t.new_input((b, n)), t.new_input((n, e))
    return [
        f"l_[b] = logsumexp[k]({x}[b,k]) - {x}[b,{label}[b]]",
        f"e_[b,d] = where({label}[b] == v, 1, 0) * {table}[v,d]",
        f"p_[b,d] = {table}[v,d] where {label}[b] == v",
    ]


def running(t: Tensors) -> list[str]:
    n, b = _sizes(t, 2, max(1, t.scale.points // 16))
    x = t.new_input((n, b))
    op = t.dice.one_of(("=", "max=", "min=", "*="))
    return [f"y_[t,b] {op} {x}[s,b] where s <= t, t < {n}", "z_[i] = y_[i,j]**2"]


def bilinear(t: Tensors) -> list[str]:
    n, m = _sizes(t, 2)
    a, b, s = t.new_input((n, m)), t.new_input((m, n)), t.new_input((n, n))
    return [f"y_[i,j] = {a}[i,k] * ({b}[k,j] + {s}[i,j])", f"s_[b,c] = sum[k]({a}[b,k] + {s}[b,c])"]


def lost_count(t: Tensors) -> list[str]:
    n, m = _sizes(t, 2, max(1, t.scale.points // 4))
    a = t.new_input((n, m))
    return [f"h_[i,j] = tanh({a}[i,j])", f"y_[b,c] = h_[b,c] where k < {t.dice.between(2, 4)}", "z_[i,j] = y_[i,j] + 1"]


IDIOMS: tuple[Callable[[Tensors], list[str]], ...] = (
    *(
        softmax,
        attention,
        banded,
        banded,
        banded,
        layer_norm,
        batch_norm,
        group_norm,
        convolution,
        depthwise,
        embedding,
    ),
    *(distances, moments, moments, guards, one_hot, running, bilinear, lost_count),
)
