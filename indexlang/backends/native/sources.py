"""Which code it is that schedules, and that emits: what it made is kept for as long as it is the same.

In: the package's sources, as they are when this is imported. Out: `EMITTING` and `SCHEDULING`. The one rule: a source
that has a part in what is kept has one in the text here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256

from ...version import __version__

PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EMITTER = tuple(
    f"backends/native/{name}.py"
    for name in (
        *("emit", "emit_casts", "emit_memory", "emit_operations", "emit_scopes"),
        *("text", "nest", "target", "varying"),
    )
)
SCHEDULER = ("backends/native", "plan", "program", "sizes", "ranges", "")  # folders


def _digest(names: Iterable[str]) -> str:
    """A text for the code; where the sources are not there, its version says which code it is."""
    found = sha256(__version__.encode())
    for name in names:
        with suppress(OSError), open(os.path.join(PACKAGE, name), "rb", 0) as file:
            data = file.read()
            found.update(f"{name} {len(data)} ".encode() + data)
    return found.hexdigest()


def _inside(folder: str) -> Iterator[str]:
    with suppress(OSError):
        yield from sorted(
            os.path.join(folder, n) for n in os.listdir(os.path.join(PACKAGE, folder)) if n.endswith(".py")
        )


EMITTING = _digest(EMITTER)
SCHEDULING = _digest(name for folder in SCHEDULER for name in _inside(folder))
