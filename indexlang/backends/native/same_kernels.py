"""Which nests are the same kernel: equal but for names, and for what their code does not depend on.

Code does not know how large arrays are, nor how far accesses may be moved, nor how many values the outermost item has:
all that is `check`'s affair, which looks through each nest with its own sizes. So a kernel whose batch is its outermost
item is one for all sizes of a batch.

In: a Nest. Out: a text, equal for the same kernels alone. The one rule: names are numbers here, in the order in which
they first occur; all else that code depends on is in the text.
"""

from __future__ import annotations

import struct

from .nest import Apply, Count, For, Form, Literal, Nest, Op, Operand, Read, Set, Stmt, Type, Write
from .varying import Varying

Tree = tuple["int | str | bool | Tree", ...]  # what Python writes in one way only


def signature(nest: Nest) -> str:
    """The text of a Nest without names."""
    return repr(_Signature(nest).tree)


class _Numbers(dict[str, int]):
    """Names by number."""

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self)
        return number


class _Signature:
    """One Nest. Vars and registers have numbers of their own."""

    def __init__(self, nest: Nest) -> None:
        self.arrays, self.vars, self.registers = _Numbers(), _Numbers(), _Numbers()
        self.numbers = {n.key: k for k, n in enumerate(nest.numbers)}
        arrays = tuple((self.arrays[a.name], a.dtype) for a in nest.arrays)
        items = tuple((self.vars[var], self._integer(n) if k else 0) for k, (var, n) in enumerate(nest.items))
        self.tree: Tree = arrays, items, self._body(nest.body)

    def _body(self, body: tuple[Stmt, ...]) -> Tree:
        return tuple([self._stmt(stmt) for stmt in body])

    def _stmt(self, stmt: Stmt) -> Tree:
        if isinstance(stmt, Set):
            op = self._op(stmt.op)
            return "set", self.registers[stmt.register], op
        if isinstance(stmt, Write):
            return "write", self._place(stmt), self._operand(stmt.value)
        if isinstance(stmt, For):
            begin, end = self._forms(stmt.begin), self._forms(stmt.end)
            return "for", self.vars[stmt.var], begin, end, stmt.by, self._body(stmt.body)
        return "when", self._form(stmt.test), self._body(stmt.then), self._body(stmt.other)

    def _op(self, op: Op) -> Tree:
        if isinstance(op, Apply):
            return op.fn, _kind(op.type), *[self._operand(a) for a in op.args]
        if isinstance(op, Read):
            return "read", op.lanes, self._place(op)
        assert isinstance(op, Count)
        return "count", op.lanes, op.step, self._form(op.of)

    def _place(self, access: Read | Write) -> Tree:
        moved = (self.registers[access.moved],) if access.moved else ()
        kind = self.arrays[access.array.name], access.array.dtype
        return kind, self._form(access.at), access.step, self._integer(access.live), moved

    def _operand(self, of: Operand) -> int | Tree:
        return self.registers[of] if isinstance(of, str) else (self._number(of), _kind(of.type))

    def _number(self, of: Literal) -> int | str | Tree:
        """Every bit of it: one nan is not the other."""
        value = of.value
        if isinstance(value, float):
            return struct.pack("<d", value).hex()
        return self._integer(value) if isinstance(value, Varying) else repr(value)

    def _forms(self, forms: tuple[Form, ...]) -> Tree:
        return tuple([self._form(f) for f in forms])

    def _form(self, of: Form) -> Tree:
        return self._integer(of.const), *[(self.vars[var], self._integer(coef)) for var, coef in of.terms]

    def _integer(self, of: int) -> int | Tree:
        """A number; of one that varies, which it is of those that code takes."""
        return ("varying", self.numbers[of.key], of.plus) if isinstance(of, Varying) else of


def _kind(of: Type) -> Tree:
    return of.dtype, of.lanes
