"""Nests as LLVM IR: a function for each, its loops and registers in static single assignment.

A register that is set again is another value there; loops and branches join the values of those that they set. Sums of
loop variables are made where the innermost of their variables begins, once for all accesses that differ by a constant.

In: Nests that `check` finds nothing wrong with, and the machine. Out: the text of a module. The one rule: it decides
nothing: statements become code in the order in which they stand.
"""

from __future__ import annotations

from collections.abc import Sequence

from .emit_memory import read, side_by_side, write
from .emit_operations import apply
from .emit_scopes import Pointer, Scope
from .nest import Apply, Array, Count, For, Form, Literal, Nest, Op, Operand, Read, Set, Stmt, Type, When, Write
from .target import Target
from .text import Code, Lines, Value, constant, flat, ir_type, itemsize
from .varying import Varying

Term = tuple[int, str, int | str]  # depth, value, coefficient

_WIDE = 64  # bytes of vectors that some machines avoid unless they are told to


def module(nests: Sequence[Nest], target: Target, settled: bool = False) -> str:
    """A module with a function for each Nest: `void NAME(ptr arrays, i64 item)`. Numbers that vary follow the addresses
    of the arrays, as words; `settled`, they are what they are in the Nest.
    """
    functions = [_Function(nest, target, settled) for nest in nests]
    texts = [line for function in functions for line in function.text()]
    declared = sorted(set().union(*(f.code.declared for f in functions)))
    lines = [f'target triple = "{target.triple}"', *declared, *texts]
    wide = ' "prefer-vector-width"="512"' if target.vector >= _WIDE else ""
    return "\n".join([*lines, f"attributes #0 = {{ nounwind{wide} }}", ""])


class _Function:
    """One Nest. `vars` have a value, or a number where it is known, and the depth of their scope."""

    def __init__(self, nest: Nest, target: Target, settled: bool) -> None:
        self.nest = nest
        numbers = () if settled else nest.numbers
        self.numbers = {n.key: k for k, n in enumerate(numbers, len(nest.arrays))}
        self.given: dict[int, str] = {}
        self.spread: dict[str, dict[Type, str]] = {}
        self.code = Code(target)
        self.scopes = [Scope(self.code)]
        self.vars: dict[str, tuple[str | int, int]] = {}
        self.registers: dict[str, Value] = {}
        self.bases: dict[str, str] = {}
        self.pointers: list[Pointer] = []
        self._assigned: dict[int, frozenset[str]] = {}
        self._items()
        self.body(nest.body)

    def text(self) -> list[str]:
        """Its lines."""
        head = f'define void @"{self.nest.name}"(ptr noalias readonly %arrays, i64 %item) #0 {{'
        for pointer in self.pointers:
            pointer.settle(self.code)
        return [head, "entry:", *flat(self.code.lines), "  ret void", "}"]

    def _items(self) -> None:
        """The vars that an item's number says. How many values the outermost one has is not asked."""
        rest = "%item"
        top = self.scopes[0]
        for var, extent in reversed(self.nest.items[1:]):
            if extent == 1 and isinstance(self._number(extent), int):
                self.vars[var] = 0, 0
            else:
                by = self._number(extent)
                self.vars[var] = top.set(self.code, f"urem i64 {rest}, {by}"), 0
                rest = top.set(self.code, f"udiv i64 {rest}, {by}")
        for var, _ in self.nest.items[:1]:
            self.vars[var] = rest, 0

    # -- statements --------------------------------------------------------------------------------------

    def body(self, body: tuple[Stmt, ...]) -> None:
        """Statements, one after the other."""
        for stmt in body:
            match stmt:
                case For():
                    self._loop(stmt)
                case When():
                    self._when(stmt)
                case Set(register, op):
                    self.registers[register] = self._op(op)
                case Write():
                    value = self.operand(stmt.value)
                    write(self.code, value, *self._lanes(stmt, value.type.lanes))

    def _op(self, op: Op) -> Value:
        match op:
            case Read():
                return read(self.code, op, *self._lanes(op, op.lanes))
            case Apply():
                return apply(self.code, op, self.operand)
            case Count(of, lanes, step):
                return self._count(of, lanes, step)

    def operand(self, of: Operand) -> Value:
        """A register's value, or a literal."""
        if not isinstance(of, Literal):
            return self.registers[of]
        held = self._number(of.value) if isinstance(of.value, Varying) else of.value
        return self._given(held, of.type) if isinstance(held, str) else constant(held, of.type)

    def _given(self, held: str, kind: Type) -> Value:
        """A number that varies as a register in all lanes, made once."""
        top, scalar = self.scopes[0], Type(kind.dtype)
        if kind not in self.spread.setdefault(held, {Type("int64"): held}):
            if scalar not in self.spread[held]:
                how = "sitofp" if kind.dtype.startswith("float") else "trunc"
                self.spread[held][scalar] = top.set(self.code, f"{how} i64 {held} to {ir_type(scalar)}")
            if kind.lanes > 1:
                vector, lanes = ir_type(kind), f"<{kind.lanes} x i32> zeroinitializer"
                one = f"insertelement {vector} poison, {ir_type(scalar)} {self.spread[held][scalar]}, i32 0"
                text = f"shufflevector {vector} {top.set(self.code, one)}, {vector} poison, {lanes}"
                self.spread[held][kind] = top.set(self.code, text)
        return Value(self.spread[held][kind], kind)

    def _count(self, of: Form, lanes: int, step: int) -> Value:
        first = Value(self.form(of), Type("int64"))
        if lanes == 1:
            return first
        spread = self.code.spread(first, lanes)
        if step == 0:
            return spread
        numbers = ", ".join(f"i64 {k * step}" for k in range(lanes))
        return self.code.value(f"add {spread}, <{numbers}>", spread.type)

    # -- loops and branches ------------------------------------------------------------------------------

    def _assigns(self, body: tuple[Stmt, ...]) -> frozenset[str]:
        """The registers that statements set."""
        found = self._assigned.get(id(body))
        if found is None:
            names: set[str] = set()
            for stmt in body:
                match stmt:
                    case Set(register, _):
                        names.add(register)
                    case For():
                        names |= self._assigns(stmt.body)
                    case When():
                        names |= self._assigns(stmt.then) | self._assigns(stmt.other)
                    case Write():
                        pass
            found = self._assigned[id(body)] = frozenset(names)
        return found

    def _carried(self, *bodies: tuple[Stmt, ...]) -> list[str]:
        """The registers that are there before, and set in statements."""
        names = frozenset[str]().union(*(self._assigns(b) for b in bodies))
        return [r for r in self.registers if r in names]

    def _loop(self, loop: For) -> None:
        begin, end = self._bound(loop.begin, "smax"), self._bound(loop.end, "smin")
        if isinstance(begin, int) and isinstance(end, int):
            if begin >= end:
                return
            if begin + loop.by >= end:
                self._once(loop, begin)
                return
        self._rounds(loop, begin, end, isinstance(begin, int) and isinstance(end, int))

    def _once(self, loop: For, begin: int) -> None:
        """The single round of a loop."""
        before, around = dict(self.registers), self.vars.get(loop.var)
        self.vars[loop.var] = begin, 0
        self.body(loop.body)
        self._leave(loop.var, around)
        self.registers = {r: self.registers[r] for r in before}

    def _leave(self, var: str, around: tuple[str | int, int] | None) -> None:
        del self.vars[var]
        if around is not None:
            self.vars[var] = around

    def _rounds(self, loop: For, begin: str | int, end: str | int, runs: bool) -> None:
        """A loop: its test stands after its body, and before it where it may not run at all."""
        code = self.code
        label, leave, before = code.label("loop"), code.label("end"), code.block
        carried, old, around = self._carried(loop.body), dict(self.registers), self.vars.get(loop.var)
        if runs:
            code.put(f"br label %{label}")
        else:
            test = code.set(f"icmp slt i64 {begin}, {end}")
            code.put(f"br i1 {test}, label %{label}, label %{leave}")
        code.start(label)
        phis: Lines = []
        code.lines.append(phis)
        var = code.name()
        for r in carried:
            self.registers[r] = Value(code.name(), old[r].type)
        heads = {r: self.registers[r].text for r in carried}
        self.scopes.append(Scope(code))
        self.vars[loop.var] = var, len(self.scopes) - 1
        self.body(loop.body)
        self.scopes.pop()
        self._leave(loop.var, around)
        following = code.set(f"add nsw i64 {var}, {loop.by}")
        again, last = code.set(f"icmp slt i64 {following}, {end}"), code.block
        code.put(f"br i1 {again}, label %{label}, label %{leave}")
        phis.append(f"  {var} = phi i64 [ {begin}, %{before} ], [ {following}, %{last} ]")
        for r in carried:
            phis.append(_phi(heads[r], old[r], before, self.registers[r], last))
        code.start(leave)
        new = dict(old)
        for r in carried:
            new[r] = self.registers[r] if runs else self._joined(old[r], before, self.registers[r], last)
        self.registers = new

    def _when(self, when: When) -> None:
        test = self._known(when.test)
        old = dict(self.registers)
        if test is not None:
            self.body(when.then if test >= 0 else when.other)
            self.registers = {r: self.registers[r] for r in old}
            return
        code = self.code
        then, other, leave = code.label("then"), code.label("else"), code.label("end")
        carried, before = self._carried(when.then, when.other), code.block
        holds = code.set(f"icmp sge i64 {self.form(when.test)}, 0")
        code.put(f"br i1 {holds}, label %{then}, label %{other if when.other else leave}")
        first, last = self._branch(then, when.then, leave, old)
        second, from_other = old, before
        if when.other:
            second, from_other = self._branch(other, when.other, leave, old)
        code.start(leave)
        self.registers = dict(old)
        for r in carried:
            self.registers[r] = self._joined(first[r], last, second[r], from_other)

    def _branch(
        self, label: str, body: tuple[Stmt, ...], leave: str, old: dict[str, Value]
    ) -> tuple[dict[str, Value], str]:
        """The registers after a branch, and the block that it leaves from."""
        self.registers = dict(old)
        self.code.start(label)
        self.body(body)
        self.code.put(f"br label %{leave}")
        return self.registers, self.code.block

    def _joined(self, a: Value, from_a: str, b: Value, from_b: str) -> Value:
        name = self.code.name()
        self.code.lines.append(_phi(name, a, from_a, b, from_b))
        return Value(name, a.type)

    # -- positions ---------------------------------------------------------------------------------------

    def _bound(self, forms: tuple[Form, ...], fn: str) -> str | int:
        """The greatest or least of forms; a number where it is known."""
        pick = max if fn == "smax" else min
        known = [k for k in map(self._known, forms) if k is not None]
        values = list(dict.fromkeys(self.form(f) for f in forms if self._known(f) is None))
        if not values:
            return pick(known)
        if known:
            values.append(str(pick(known)))
        found = Value(values[0], Type("int64"))
        for value in values[1:]:
            found = self.code.call(fn, found.type, [found, Value(value, found.type)])
        return found.text

    def _number(self, of: int) -> int | str:
        """A number, or what holds it in a call: it is loaded once."""
        if not isinstance(of, Varying) or not self.numbers:
            return int(of)
        slot, top = self.numbers[of.key], self.scopes[0]
        if slot not in self.given:
            place = top.set(self.code, f"getelementptr i64, ptr %arrays, i64 {slot}")
            self.given[slot] = top.set(self.code, f"load i64, ptr {place}, align 8")
        held = self.given[slot]
        return self._once_at(0, (held, str(of.plus)), f"add i64 {held}, {of.plus}") if of.plus else held

    def _resolved(self, of: Form) -> tuple[int, list[Term]]:
        """Its constant with what is known, and (depth, value, coefficient) of the others, outermost first."""
        const, terms = 0, list[Term]()
        first = of.const
        if isinstance(first, Varying) and self.numbers:  # what code knows of it is a constant as others are
            const, first = first.plus, first - first.plus
        for value, depth, coef in ((1, 0, first), *((*self.vars[var], coef) for var, coef in of.terms)):
            by = self._number(coef)
            if isinstance(value, str):
                terms.append((depth, value, by))
            elif isinstance(by, str):
                terms += [(0, by, value)] if value else []
            else:
                const += by * value
        return const, sorted(terms, key=lambda t: (*t[:2], str(t[2])))

    def _known(self, of: Form) -> int | None:
        const, terms = self._resolved(of)
        return None if terms else const

    def form(self, of: Form) -> str:
        """Its value."""
        const, terms = self._resolved(of)
        if not terms:
            return str(const)
        found = self._sum(terms)
        if const == 0:
            return found
        depth = terms[-1][0]
        return self._once_at(depth, (found, str(const)), f"add i64 {found}, {const}")

    def _once_at(self, depth: int, key: tuple[str, ...], text: str) -> str:
        """An instruction at the head of a scope, the same for all who ask."""
        scope = self.scopes[depth]
        found = scope.sums.get(key)
        if found is None:
            found = scope.sums[key] = scope.set(self.code, text)
        return found

    def _sum(self, terms: list[Term]) -> str:
        """The sum of products, each part of it where its innermost var begins."""
        found = ""
        for depth, value, coef in terms:
            if coef != 1:
                value = self._once_at(depth, ("*", value, str(coef)), f"mul i64 {value}, {coef}")
            found = self._once_at(depth, ("+", found, value), f"add i64 {found}, {value}") if found else value
        return found

    def _base(self, array: Array) -> str:
        """The address of an array's first element."""
        top = self.scopes[0]
        found = self.bases.get(array.name)
        if found is None:
            number = next(k for k, a in enumerate(self.nest.arrays) if a.name == array.name)
            place = top.set(self.code, f"getelementptr ptr, ptr %arrays, i64 {number}") if number else "%arrays"
            found = self.bases[array.name] = top.set(self.code, f"load ptr, ptr {place}, align 8")
        return found

    def _lanes(self, op: Read | Write, lanes: int) -> tuple[list[str] | str, int | str]:
        """The address of the first lane, or of each that is live, or all of them in a vector; how many are live."""
        live = self._number(op.live or lanes)
        if isinstance(live, int):
            return self._addresses(op, lanes, live), live
        if op.moved and self.registers[op.moved].type.lanes > 1:
            return self._addresses(op, lanes, lanes), live
        found = self._addresses(op, lanes, 1)
        if side_by_side(op, lanes):
            return found, live
        steps = ", ".join(f"i64 {k * op.step}" for k in range(lanes))
        kind = f"i{8 * itemsize(op.array.dtype)}"
        return self.code.set(f"getelementptr {kind}, ptr {found[0]}, <{lanes} x i64> <{steps}>"), live

    def _addresses(self, op: Read | Write, lanes: int, live: int) -> list[str]:
        const, terms = self._resolved(op.at)
        kind = f"i{8 * itemsize(op.array.dtype)}"
        base = self._base(op.array)
        if terms:
            pointer = self._pointer(base, kind, terms)
            pointer.uses += 1
            base = pointer.name
        moved = self.registers[op.moved] if op.moved else None
        if moved is not None and moved.type.lanes == 1:
            base = self.code.set(f"getelementptr {kind}, ptr {base}, i64 {moved.text}")
            moved = None
        if moved is None and side_by_side(op, lanes):
            return [self._beyond(kind, base, const)]
        found = []
        for k in range(live):
            own = base
            if moved is not None:
                own = self.code.set(f"getelementptr {kind}, ptr {base}, i64 {self.code.lane(moved, k).text}")
            found.append(self._beyond(kind, own, const + k * op.step))
        return found

    def _pointer(self, base: str, kind: str, terms: list[Term]) -> Pointer:
        """What all accesses of an array have in common that differ by constants."""
        depth, offset = terms[-1][0], self._sum(terms)
        found = self.scopes[depth].pointers.get((base, offset))
        if found is None:
            text = f"getelementptr {kind}, ptr {base}, i64 {offset}"
            found = self.scopes[depth].pointers[base, offset] = Pointer(self.code.name(), text, depth > 0)
            self.scopes[depth].head.append(found.lines)
            self.pointers.append(found)
        return found

    def _beyond(self, kind: str, base: str, const: int) -> str:
        return self.code.set(f"getelementptr {kind}, ptr {base}, i64 {const}") if const else base


def _phi(name: str, a: Value, from_a: str, b: Value, from_b: str) -> str:
    return f"  {name} = phi {ir_type(a.type)} [ {a.text}, %{from_a} ], [ {b.text}, %{from_b} ]"
