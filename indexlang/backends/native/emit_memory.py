"""Reads and writes as LLVM IR: vectors where elements lie side by side, else lane by lane.

In: an access, the address of its first lane. Out: instructions. The one rule: no byte outside the lanes that are live
is touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from .nest import Read, Type, Write
from .text import Code, Value, constant, ir_type, itemsize, vector_of

_WIDE = 64  # bytes of a vector register of machines whose loads and stores take masks at no cost


def read(code: Code, op: Read, addresses: Sequence[str]) -> Value:
    """Elements as a register. There is one address, of the first lane, or one for each lane that is live."""
    dtype = op.array.dtype
    live = op.live or op.lanes
    if len(addresses) > 1 or op.lanes == 1:
        lanes = [_load(code, at, Type(dtype)) for at in addresses[:live]]
        return lanes[0] if op.lanes == 1 else code.lanes(op.type, lanes)
    if op.step == 0:
        spread = code.spread(_load(code, addresses[0], Type(dtype)), op.lanes)
        return spread if live == op.lanes else code.widened(code.shuffled(spread, range(live)), op.lanes)
    if live == op.lanes:
        return _load(code, addresses[0], op.type)
    if code.target.vector == _WIDE:
        return _masked_load(code, op, addresses[0], live)
    return code.widened(_load(code, addresses[0], Type(dtype, live)), op.lanes)


def write(code: Code, op: Write, value: Value, addresses: Sequence[str]) -> None:
    """A register's lanes as elements."""
    lanes = value.type.lanes
    live = op.live or lanes
    if len(addresses) > 1 or lanes == 1:
        for k, at in enumerate(addresses[:live]):
            _store(code, at, code.lane(value, k))
    elif live == lanes:
        _store(code, addresses[0], value)
    elif live == 1:  # LLVM 22 makes of one lane under a mask a store as wide as what the lane was cut from
        _store(code, addresses[0], code.lane(value, 0))
    elif code.target.vector == _WIDE:
        _masked_store(code, value, addresses[0], live)
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


def _masked_load(code: Code, op: Read, at: str, live: int) -> Value:
    stored = _memory(op.type)
    vector, align = ir_type(stored), itemsize(stored.dtype)
    name = f"@llvm.masked.load.{_suffix(stored)}.p0"
    code.declared.add(f"declare {vector} {name}(ptr, i32, {vector_of('i1', op.lanes)}, {vector})")
    zero = f"{vector} {constant(0, stored).text}"
    given = f"ptr {at}, i32 {align}, {_mask(op.lanes, live)}, {zero}"
    return _narrow(code, code.value(f"call {vector} {name}({given})", stored), op.type)


def _masked_store(code: Code, value: Value, at: str, live: int) -> None:
    lanes = value.type.lanes
    stored = _wide(code, value)
    vector, align = ir_type(stored.type), itemsize(stored.type.dtype)
    name = f"@llvm.masked.store.{_suffix(stored.type)}.p0"
    code.declared.add(f"declare void {name}({vector}, ptr, i32, {vector_of('i1', lanes)})")
    code.put(f"call void {name}({stored}, ptr {at}, i32 {align}, {_mask(lanes, live)})")


def _suffix(kind: Type) -> str:
    scalar = ir_type(Type(kind.dtype))
    return f"v{kind.lanes}{ {'float': 'f32', 'double': 'f64'}.get(scalar, scalar) }"
