"""Reads and writes as LLVM IR: vectors where elements lie side by side, else lane by lane.

In: an access, its addresses. Out: instructions. The one rule: no byte outside the lanes that are live
is touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from .nest import Read, Type, Write
from .text import Code, Value, constant, ir_type, itemsize, vector_of

_WIDE = 64  # bytes of a vector register of machines whose loads and stores take masks at no cost


def read(code: Code, op: Read, addresses: Sequence[str] | str, live: int | str) -> Value:
    """Elements as a register. There is one address, of the first lane, or one for each lane that is live; how many are
    may be known in the call alone, as a word: then there is one for each lane, perhaps all in a vector.
    """
    dtype = op.array.dtype
    if op.lanes == 1:
        return _load(code, addresses[0], Type(dtype))
    if isinstance(live, str):
        mask = _first(code, op.lanes, live)
        if op.step == 0 and not isinstance(addresses, str) and len(addresses) == 1:  # one element in all of them
            spread = code.spread(_load(code, addresses[0], Type(dtype)), op.lanes)
            return code.value(f"select {mask}, {spread}, {constant(0, op.type)}", op.type)
        return _masked_load(code, op, addresses, mask)
    if len(addresses) > 1:
        return code.lanes(op.type, [_load(code, at, Type(dtype)) for at in addresses[:live]])
    if op.step == 0:
        spread = code.spread(_load(code, addresses[0], Type(dtype)), op.lanes)
        return spread if live == op.lanes else code.widened(code.shuffled(spread, range(live)), op.lanes)
    if live == op.lanes:
        return _load(code, addresses[0], op.type)
    if code.target.vector == _WIDE:
        return _masked_load(code, op, addresses, _mask(op.lanes, live))
    return code.widened(_load(code, addresses[0], Type(dtype, live)), op.lanes)


def write(code: Code, value: Value, addresses: Sequence[str] | str, live: int | str) -> None:
    """A register's lanes as elements."""
    lanes = value.type.lanes
    if lanes == 1:
        _store(code, addresses[0], value)
    elif isinstance(live, str):
        _masked_store(code, value, addresses, _first(code, lanes, live))
    elif len(addresses) > 1:
        for k, at in enumerate(addresses[:live]):
            _store(code, at, code.lane(value, k))
    elif live == lanes:
        _store(code, addresses[0], value)
    elif live == 1:  # LLVM 22 makes of one lane under a mask a store as wide as what the lane was cut from
        _store(code, addresses[0], code.lane(value, 0))
    elif code.target.vector == _WIDE:
        _masked_store(code, value, addresses, _mask(lanes, live))
    else:
        _store(code, addresses[0], code.shuffled(value, range(live)))


def side_by_side(op: Read | Write, lanes: int) -> bool:
    """Whether one address is enough."""
    return lanes == 1 or op.step in (0, 1)


def _memory(kind: Type) -> Type:
    """What lies in memory: a bool is a byte there."""
    return Type("uint8", kind.lanes) if kind.dtype == "bool" else kind


def _load(code: Code, at: str, kind: Type) -> Value:
    stored = _memory(kind)
    return _narrow(code, code.value(f"load {ir_type(stored)}, ptr {at}, align {itemsize(kind.dtype)}", stored), kind)


def _store(code: Code, at: str, value: Value) -> None:
    code.put(f"store {_wide(code, value)}, ptr {at}, align {itemsize(value.type.dtype)}")


def _narrow(code: Code, value: Value, kind: Type) -> Value:
    return value if value.type == kind else code.value(f"trunc {value} to {ir_type(kind)}", kind)


def _wide(code: Code, value: Value) -> Value:
    stored = _memory(value.type)
    return value if value.type == stored else code.value(f"zext {value} to {ir_type(stored)}", stored)


def _mask(lanes: int, live: int) -> str:
    return f"<{lanes} x i1> <{', '.join(f'i1 {int(k < live)}' for k in range(lanes))}>"


def _first(code: Code, lanes: int, live: str) -> str:
    """The mask of the first lanes, as many as a word says."""
    words = code.spread(Value(live, Type("int64")), lanes)
    numbers = ", ".join(f"i64 {k}" for k in range(lanes))
    return f"<{lanes} x i1> " + code.set(f"icmp ugt {words}, <{numbers}>")


def _masked_load(code: Code, op: Read, addresses: Sequence[str] | str, mask: str) -> Value:
    stored = _memory(op.type)
    vector, zero = ir_type(stored), f"{ir_type(stored)} {constant(0, stored).text}"
    place, kind, suffix = _places(code, stored, addresses)
    name = f"@llvm.masked.{'load' if kind == 'ptr' else 'gather'}.{suffix}"
    code.declared.add(f"declare {vector} {name}({kind}, i32, {vector_of('i1', op.lanes)}, {vector})")
    given = f"{place}, i32 {itemsize(stored.dtype)}, {mask}, {zero}"
    return _narrow(code, code.value(f"call {vector} {name}({given})", stored), op.type)


def _masked_store(code: Code, value: Value, addresses: Sequence[str] | str, mask: str) -> None:
    stored = _wide(code, value)
    place, kind, suffix = _places(code, stored.type, addresses)
    name = f"@llvm.masked.{'store' if kind == 'ptr' else 'scatter'}.{suffix}"
    lanes, vector = value.type.lanes, ir_type(stored.type)
    code.declared.add(f"declare void {name}({vector}, {kind}, i32, {vector_of('i1', lanes)})")
    code.put(f"call void {name}({stored}, {place}, i32 {itemsize(stored.type.dtype)}, {mask})")


def _places(code: Code, kind: Type, addresses: Sequence[str] | str) -> tuple[str, str, str]:
    """One address, or one for each lane as a vector; their type; what names of functions end with."""
    many, found = vector_of("ptr", kind.lanes), addresses
    if not isinstance(addresses, str):
        if len(addresses) == 1:
            return f"ptr {addresses[0]}", "ptr", f"{_suffix(kind)}.p0"
        found = "poison"
        for k, at in enumerate(addresses):
            found = code.set(f"insertelement {many} {found}, ptr {at}, i32 {k}")
    return f"{many} {found}", many, f"{_suffix(kind)}.v{kind.lanes}p0"


def _suffix(kind: Type) -> str:
    scalar = ir_type(Type(kind.dtype))
    return f"v{kind.lanes}{ {'float': 'f32', 'double': 'f64'}.get(scalar, scalar) }"
