"""Which code it is that schedules, and that emits: what it made is kept for as long as it is the same.

In: the package's sources, as they are when this is imported. Out: `EMITTING` and `SCHEDULING`. The one rule: a source
that has a part in what is kept has one in the text here.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from ...version import __version__

PACKAGE = Path(__file__).parents[2]
EMITTER = tuple(
    f"backends/native/{name}.py"
    for name in ("emit", "emit_casts", "emit_memory", "emit_operations", "text", "nest", "target")
)
SCHEDULER = ("backends/native", "plan", "program", "rewrite", "sizes", "ranges", ".")  # folders


def _digest(paths: Iterable[Path]) -> str:
    """A text for the code; where the sources are not there, its version says which code it is."""
    found = sha256(__version__.encode())
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        found.update(f"{path.name} {len(data)} ".encode() + data)
    return found.hexdigest()


EMITTING = _digest(PACKAGE / name for name in EMITTER)
SCHEDULING = _digest(path for folder in SCHEDULER for path in sorted((PACKAGE / folder).glob("*.py")))
