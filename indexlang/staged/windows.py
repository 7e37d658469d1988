"""For how many steps a tensor is kept.

In: stages, and the tensors that are kept whole. Out: by tensor an axis, and how many of its positions are in memory at
once: position p of the axis is at p modulo so many. The one rule: whoever reads a position reads what was put there
for this very position. So each step begins by setting all of the position that is new, and what is read before and
behind the block is in the window of its first and of its last step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..program.affine import Affine
from ..program.ir import Index
from .pieces import is_padded, positions, read_in, start_of
from .stages import At, Repeat, Slice, Stage, placed

Sizes = Mapping[str, tuple[int, ...]]
Window = tuple[int, int]  # an axis, and how many positions of it are kept


@dataclass(frozen=True)
class _Use:
    """A slice that a piece takes or gives, in the order of uses. `path` are the blocks around it, `stage` the number
    of the outermost one; `fresh` says that it is given by a piece that takes nothing of its tensor at the same place.
    """

    part: Slice
    stage: int
    path: tuple[Repeat, ...]
    made: bool
    fresh: bool

    def position(self, axis: int) -> Affine | None:
        """Which position of an axis it is, if steps say it."""
        found = self.part.axes[axis]
        return start_of(found) if isinstance(found, At) else None

    @property
    def steps(self) -> dict[str, tuple[int, int]]:
        """How far the steps around it run."""
        return {i: extent for block in self.path for i, extent in block.extents}


def windows(stages: Sequence[Stage], sizes: Sizes, whole: Collection[str]) -> dict[str, Window]:
    """The tensors of which some positions are kept."""
    uses: dict[str, list[_Use]] = {}
    pointing: set[str] = set()
    for number, stage in enumerate(stages):
        for call, path in placed((stage,)):
            taken = [part for _, part in call.takes if isinstance(part, Slice)]
            for part in taken:
                uses.setdefault(part.tensor, []).append(_Use(part, number, path, False, False))
            for _, part in call.gives:
                uses.setdefault(part.tensor, []).append(_Use(part, number, path, True, part not in taken))
            parts = (*taken, *(p for _, p in call.gives))
            pointing |= {t for part in parts for axis in part.axes for t in read_in(axis)}
    found: dict[str, Window] = {}
    for tensor, own in uses.items():
        if tensor in whole or tensor in pointing:
            continue
        for axis, size in enumerate(sizes[tensor]):
            length = _length(own, axis, stages, sizes[tensor])
            if length is not None and length < size:
                found[tensor] = axis, length
                break
    return found


def _length(uses: Sequence[_Use], axis: int, stages: Sequence[Stage], shape: tuple[int, ...]) -> int | None:
    """How many positions of an axis are used at one step of the one block whose steps say them."""
    forms = [use.position(axis) for use in uses]
    if any(form is None for form in forms):
        return None
    known = [(use, form) for use, form in zip(uses, forms, strict=True) if form is not None]
    moving = {use.stage for use, form in known if form.terms}
    if len(moving) != 1:
        return None
    (number,) = moving
    block = stages[number]
    if not isinstance(block, Repeat) or len(block.extents) != 1 or block.block.masks:
        return None
    ((index, (lo, hi)),) = block.extents
    inside = [(use, form) for use, form in known if use.stage == number]
    if lo >= hi or any(form.terms != ((Index(index), 1),) for _, form in inside):
        return None
    least, most = (end(form.const for _, form in inside) for end in (min, max))
    if any(use.made and not _within(use, axis, lo + f.const, hi - 1 + f.const, shape[axis]) for use, f in inside):
        return None
    new = least if block.block.reverse else most
    if not _all_set([use for use, form in inside if form.const == new], axis, shape):
        return None
    first, last = (hi - 1, lo) if block.block.reverse else (lo, hi - 1)
    for use, form in known:
        if use.stage == number:
            continue
        # a view of what is taken in front would see what comes to its place
        step = first if use.stage < number else last
        if use.made != (use.stage < number) or not least <= form.const - step <= most:
            return None
        if not _within(use, axis, form.const, form.const, shape[axis]):
            return None
    return most - least + 1


def _within(use: _Use, axis: int, first: int, last: int, size: int) -> bool:
    """Whether positions are some of the axis, without a padding."""
    return not is_padded(use.part.axes[axis]) and first >= 0 and last < size


def _all_set(uses: Sequence[_Use], axis: int, shape: tuple[int, ...]) -> bool:
    """Whether a step sets all elements of a position, none of which is read before it is set: by its first use, or by
    several that keep to positions of one other axis, as what is read then has been made.
    """
    if not uses:
        return False
    others = [k for k in range(len(shape)) if k != axis]
    if _is_sure(uses[0]) and all(uses[0].part.axes[k] is None for k in others):
        return True
    for other in others:
        some = [use for use in uses if _is_sure(use) and all(use.part.axes[k] is None for k in others if k != other)]
        set_ = {p for use in some for p in _positions(use, other, shape[other])}
        if len(set_) == shape[other]:
            return True
    return False


def _is_sure(use: _Use) -> bool:
    """Whether it is set at each step anew."""
    inner = use.path[1:]
    some = all(lo < hi for block in inner for _, (lo, hi) in block.extents)
    return use.fresh and some and not any(block.block.masks for block in inner)


def _positions(use: _Use, axis: int, size: int) -> range:
    """Which positions of an axis a use goes through, if it surely goes through all of them."""
    part = use.part.axes[axis]
    form = use.position(axis)
    ends = positions(part, use.steps)
    if part is None:
        return range(size)
    if form is None or ends is None or is_padded(part) or len(form.terms) > 1:
        return range(0)
    if any(abs(times) != 1 for _, times in form.terms) or ends[0] < 0 or ends[1] >= size:
        return range(0)
    return range(ends[0], ends[1] + 1)
