"""A layer of the library with sizes that networks have.

In: the layer's name, shapes, options, and PyTorch's way. Out: a `Workload`. The one rule: PyTorch gets its axes in the
order that it likes before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...libraries import Layouts, eager, equations
from ...workload import FORWARD, STEP, Build, Workload
from ..cliffs.row import shape, sources


@dataclass(frozen=True)
class Layer:
    """`inputs` as those of a row of the cliffs, with numbers; `output` is "8,26,32", or that behind a name and a colon.

    `torch` is a function of torch and the inputs, whose axes and that of the output stand as `layouts` says.
    """

    file: str
    name: str
    inputs: str
    output: str
    torch: Callable[..., Any] | None = None
    layouts: Layouts = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    gradients: bool = True
    note: str = ""
    scales: Mapping[str, float] = field(default_factory=dict)  # of inputs, else 1

    @property
    def title(self) -> str:
        """The layer, and what tells it from others of its name."""
        return f"{self.name}, {self.note}" if self.note else self.name

    def workload(self) -> Workload:
        """With its peers."""
        name, _, extent = self.output.rpartition(":")
        ours = equations(f"{self.file}.idx", name or "y", layer=self.name, **self.options)
        peers: dict[str, Build] = {"indexlang": ours}
        if self.torch is not None:
            peers["torch"] = eager(self.torch, self.layouts)
        modes = (FORWARD, STEP) if self.gradients else (FORWARD,)
        return Workload(self.title, sources(self.inputs, scales=self.scales), shape(extent), peers, modes=modes)
