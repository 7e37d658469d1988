"""The sizes that inputs must have and their program does not tell, when another program is made of it.

In: by input, for each axis a form of sizes of other tensors. Out: the same of the new program's tensors. The one rule:
a cotangent that is given where a size does not fit is an error, whatever the program has become.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..program.affine import Affine, size
from ..program.ir import Size

Expected = Mapping[str, Mapping[int, Affine]]


def under(expected: Expected, names: Mapping[str, str]) -> dict[str, dict[int, Affine]]:
    """Tensors under other names."""
    return {
        names.get(n, n): _of(axes, lambda s: size(names.get(s.tensor, s.tensor), s.axis))
        for n, axes in expected.items()
    }


def behind(expected: Expected, tensors: Collection[str]) -> dict[str, dict[int, Affine]]:
    """Tensors that have an axis more, in front."""

    def moved(s: Size) -> Affine:
        return size(s.tensor, s.axis + (s.tensor in tensors))

    found = {n: _of(axes, moved) for n, axes in expected.items()}
    return {n: {k + (n in tensors): form for k, form in axes.items()} for n, axes in found.items()}


def of_made(expected: Expected, shapes: Expected) -> dict[str, dict[int, Affine]]:
    """Sizes of tensors that another program makes, by its inputs."""

    def made(s: Size) -> Affine:
        return shapes.get(s.tensor, {}).get(s.axis, size(s.tensor, s.axis))

    return {n: _of(axes, made) for n, axes in expected.items()}


def _of(axes: Mapping[int, Affine], change: Callable[[Size], Affine]) -> dict[int, Affine]:
    return {k: form.substitute({s: change(s) for s in form.sizes}) for k, form in axes.items()}
