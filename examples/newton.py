"""Newton's method without a Hessian: conjugate gradients solve each step, and ask for the Hessian times a vector.

`python -m examples.newton` fits a regularised logistic regression. `f.hvp` is the tangent of the gradient, one program
of the language; it is printed first, as `f.grad(seed=1).tangent(...)` says it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import indexlang

Array = NDArray[Any]

LOSS = """\
s[b] = w[i] * x[b,i]
loss += softplus(-t[b] * s[b])
loss += decay * w[i]**2
"""

loss = indexlang.compile(LOSS)


def solved(product: Callable[[Array], Array], right: Array, tolerance: float = 1e-10) -> Array:
    """The solution of `product(v) == right`, of a symmetric positive map, by conjugate gradients."""
    v, left = np.zeros_like(right), right.copy()
    along, size = left.copy(), float(left @ left)
    for _ in range(2 * len(right)):
        if size <= tolerance**2 * float(right @ right):
            break
        turned = product(along)
        length = size / float(along @ turned)
        v += length * along
        left -= length * turned
        size, before = float(left @ left), size
        along = left + size / before * along
    return v


def newton_step(w: Array, **data: Any) -> tuple[float, float, Array]:
    """The loss, the length of its gradient, and where the step goes."""
    value, gradients = loss.value_and_grad("w", w=w, **data)
    gradient = gradients["w"]
    step = solved(lambda v: loss.hvp({"w": v}, w=w, **data)["w"], gradient)
    return float(value), float(np.linalg.norm(gradient)), w - step


def data(count: int, size: int, seed: int = 0) -> dict[str, Any]:
    """Points, their signs by a plane and some noise, and how much weights cost."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, size))
    return {"x": x, "t": np.sign(x @ rng.standard_normal(size) + rng.standard_normal(count)), "decay": 0.1}


def main() -> int:
    """Fit, and print how the gradient vanishes."""
    print(loss.grad("w", seed=1).tangent("w"))
    given = data(500, 30)
    w = np.zeros(30)
    for number in range(10):
        value, slope, w = newton_step(w, **given)
        print(f"step {number}: loss {value:.6f}, gradient {slope:.1e}")
        if slope < 1e-9:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
