"""Cliffs: equations as users write them, each beside a few lines of NumPy. `python -m benchmarks cliffs` runs them."""

from __future__ import annotations

from . import attention, products, tables, windows

ROWS = (*attention.ROWS, *products.ROWS, *windows.ROWS, *tables.ROWS)
WORKLOADS = tuple(workload for row in ROWS for workload in row.workloads())
