"""How far integers reach that loop variables say, where the variables are bounded by each other.

A bound is a Form that is not negative. A sum of variables is bounded by adding bounds to it until no variable is left,
the innermost first: for `d` below `34 - i`, `i + d` is below 34 whatever `i` is. All are integers, and rounded so.

In: loops and tests, outermost first. Out: the least and greatest value of a Form. The one rule: what is said is never
too narrow; it may be too wide where three bounds or more are needed together.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd

from .nest import For, Form

Terms = tuple[tuple[str, int], ...]


class Domain:
    """Variables so far, outermost first, and their bounds: each is filed under its innermost variable."""

    def __init__(self) -> None:
        self.depth: dict[str, int] = {}
        self.bounds: dict[str, tuple[Form, ...]] = {}
        self.steps: dict[str, tuple[int, int]] = {}  # var is first + a multiple of step
        self._found: dict[Terms, int | None] = {}

    def _copy(self) -> Domain:
        new = Domain()
        new.depth, new.bounds, new.steps = dict(self.depth), dict(self.bounds), dict(self.steps)
        return new

    def item(self, var: str, extent: int) -> Domain:
        """With an item's var."""
        return self.loop(For(var, (Form(0),), (Form(extent),), ()))

    def loop(self, loop: For) -> Domain:
        """With a loop's var, as it is in the loop's body."""
        new = self._copy()
        var = Form(0, ((loop.var, 1),))
        new.depth[loop.var] = len(self.depth)
        new.bounds[loop.var] = ()
        if len(loop.begin) == 1 and not loop.begin[0].terms:
            new.steps[loop.var] = loop.begin[0].const % loop.by, loop.by
        for begin in loop.begin:
            new._add(var - begin)
        for end in loop.end:
            last = end - 1
            if len(loop.begin) == 1 and not (end - loop.begin[0]).terms:
                rounds = (last - loop.begin[0]).const // loop.by
                last = loop.begin[0] + rounds * loop.by
            new._add(last - var)
        return new

    def where(self, test: Form) -> Domain:
        """Where a form is not negative."""
        new = self._copy()
        new._add(self._tight(test))
        return new

    def _add(self, bound: Form) -> None:
        """A bound, and what it says of the outer variables with those there are: that there is an integer between."""
        if not bound.terms:
            return
        least = self.least(bound)
        if least is not None and least >= 0:
            return
        inner = max((v for v, _ in bound.terms), key=self.depth.__getitem__)
        own = dict(bound.terms)[inner]
        against = [(b, dict(b.terms)[inner]) for b in self.bounds[inner]]
        self.bounds[inner] += (bound,)
        self._found.clear()
        for other, coef in against:
            if coef * own < 0:
                self._add(bound * abs(coef) + other * abs(own))

    def _tight(self, test: Form) -> Form:
        """The same of the values that a single variable takes."""
        if len(test.terms) != 1 or test.terms[0][0] not in self.steps:
            return test
        (var, coef), (first, step) = test.terms[0], self.steps[test.terms[0][0]]
        if coef > 0:
            least = -(test.const // coef)
            return Form(-(least + (first - least) % step), ((var, 1),))
        most = test.const // -coef
        return Form(most - (most - first) % step, ((var, -1),))

    def never(self, test: Form) -> bool:
        """Whether a form is negative wherever it is asked."""
        most = self.greatest(test)
        return most is not None and most < 0

    def greatest(self, of: Form) -> int | None:
        """At most this; None where nothing bounds it."""
        found = self._most(of.terms)
        return None if found is None else found + of.const

    def least(self, of: Form) -> int | None:
        """At least this; None where nothing bounds it."""
        found = self._most(tuple((v, -c) for v, c in of.terms))
        return None if found is None else of.const - found

    def _most(self, terms: Terms) -> int | None:
        """The bound of a sum, by the best of the ways to do without its innermost variable."""
        if not terms:
            return 0
        if len(terms) > 1:
            terms = tuple(sorted(terms, key=lambda t: self.depth[t[0]]))
        if terms not in self._found:
            ways = [
                (const + w) // by for by, const, rest in self._without(terms) if (w := self._most(rest)) is not None
            ]
            self._found[terms] = min(ways, default=None)
        return self._found[terms]

    def _without(self, terms: Terms) -> Iterator[tuple[int, int, Terms]]:
        """The sum times `by`, with each bound added that cancels its last variable: a constant, and what is left."""
        var, coef = terms[-1]
        for bound in self.bounds[var]:
            own = next(c for v, c in bound.terms if v == var)
            if own * coef > 0:
                continue
            shared = gcd(own, coef)
            by, more = abs(own) // shared, abs(coef) // shared
            left = {v: c * by for v, c in terms[:-1]}
            for other, c in bound.terms:
                if other != var:
                    left[other] = left.get(other, 0) + c * more
            yield by, bound.const * more, tuple((v, c) for v, c in left.items() if c)
