"""The standard layers, beside PyTorch's own where there are any. `python -m benchmarks library` runs them."""

from __future__ import annotations

from . import images, small, steps, vectors

LAYERS = (*images.LAYERS, *vectors.LAYERS, *steps.LAYERS)
ROWS = small.ROWS
WORKLOADS = (*(layer.workload() for layer in LAYERS), *(w for row in ROWS for w in row.workloads()))
