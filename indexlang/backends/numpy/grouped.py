"""A statement as NumPy code, its small groups merged where that pays.

In: a statement whose sizes and dtypes are known. Out: lines, and the name of the kernel. The one rule: what is
multiplied by the zeros of other groups must be finite; where it is not, the statement is run as it stands.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...plan.rewrites.merge_groups import Groups, merge_groups
from ...program.ir import Statement
from .statement import StatementCode
from .values import Lowering


def lower_statement(
    low: Lowering, stmt: Statement, extents: Mapping[str, tuple[int, int]], dtype: str, compute: str
) -> str:
    """Write the code; the name of the kernel."""
    plain = StatementCode(low, stmt, extents, dtype, compute)
    if (
        stmt.target.tensor in low.arrays
        or low.guarded
        or low.dtypes[stmt.target.tensor] != compute
        or compute == "bool"
    ):
        return plain.lower()
    found = merge_groups(stmt, extents)
    if found is None:
        return plain.lower()
    return _merged(low, stmt, extents, dtype, compute, found)


def _merged(
    low: Lowering,
    stmt: Statement,
    extents: Mapping[str, tuple[int, int]],
    dtype: str,
    compute: str,
    found: Groups,
) -> str:
    shapes, dtypes = low.shapes, low.dtypes
    low.shapes, low.dtypes = {**shapes, found.name: found.shape}, {**dtypes, found.name: compute}
    ways = [
        StatementCode(low, part, found.extents, kind, compute).lower()
        for part, kind in ((found.first, compute), (found.second, dtype))
    ]
    del low.arrays[found.name]
    low.shapes, low.dtypes = shapes, dtypes
    if found.dense is not None and compute.startswith(("float", "complex")):
        known = dict(low.prepared), dict(low.gathered)
        with low.writer.block(f"if not np.isfinite({low.arrays[found.dense.tensor].name}).all():"):
            low.writer.line(f"{low.arrays[stmt.target.tensor].name}[...] = 0")
            StatementCode(low, stmt, extents, dtype, compute).lower()
        low.prepared, low.gathered = known
    return f"{found.note}, {ways[found.dense is not None]}"
