"""What a training is made of: inputs, data, an optimiser, a schedule, each of the kind that it should be.

In: the arguments by name. Out: nothing, or an error. The one rule: the way out is about the one argument that is
wrong, so that all others stay as they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...meaning.report import near
from ..graphs import asked
from ..graphs.nodes import Input, Node
from ..problems import graph_error
from ..settings import plain
from .data import Dataset
from .optimisers import Optimiser
from .schedules import ConstantRate, CosineRate, StepRate, WarmUp, is_schedule

WORDS: Mapping[str, str] = {  # what each part is
    "images": "an input",
    "labels": "an input",
    "data": "a Dataset",
    "scores": "a node",
    "optimiser": "an optimiser, such as Adam()",
    "schedule": "a schedule, such as CosineRate()",
    "augment": "a function of images and a generator",
}
_OPTIMISERS = {n: f"{n}()" for n in ("Adam", "AdamW")} | dict.fromkeys(
    ("GradientDescent", "SGD"), "GradientDescent(0.1)"
)
_SCHEDULES = {n: f"{n}()" for n in ("ConstantRate", "CosineRate", "StepRate", "WarmUp")}


def check(given: Mapping[str, Any]) -> None:
    """Whether all parts are of their kinds. Errors: `GraphError`."""
    for name, words in WORDS.items():
        value = given[name]
        if not _fits(name, value):
            rule = f"{name} of Training is {words}, not {asked.kind(value)}"
            raise graph_error("setting", rule, way_out=f"{_instead(name, value)}; the other arguments stay")


def _fits(name: str, value: Any) -> bool:
    match name:
        case "images" | "labels":
            return isinstance(value, Input)
        case "data":
            return isinstance(value, Dataset)
        case "scores":
            return value is None or isinstance(value, Node)
        case "optimiser":
            return isinstance(value, Optimiser)
        case "schedule":
            return is_schedule(value)
        case _:
            return value is None or callable(value)


def _instead(name: str, value: Any) -> str:
    """What to write for one argument."""
    other = "optimiser" if isinstance(value, Optimiser) else "data" if isinstance(value, Dataset) else None
    other = "schedule" if isinstance(value, ConstantRate | CosineRate | StepRate | WarmUp) else other
    if other is not None:
        return f"give it by its name: {other}={type(value).__name__}(...)"
    number = plain(value)
    match name:
        case "images" | "labels":
            return f"give what Input() gave: {name}={'x' if name == 'images' else 'y'}"
        case "data":
            return 'write data=Dataset("name", images, labels, test_images, test_labels)'
        case "scores":
            return "give the node whose greatest element is the answer, or scores=None"
        case "optimiser":
            schedule = _named(value, _SCHEDULES)
            if schedule is not None:
                return f"give it by its name: schedule={schedule}"
            made = "Adam()" if number is None else f"GradientDescent({number})"
            return f"write optimiser={_named(value, _OPTIMISERS) or made}"
        case "schedule":
            rate = "; the rate is the optimiser's: Adam(0.1)" if number is not None else ""
            return f"write schedule={_named(value, _SCHEDULES) or 'ConstantRate()'}{rate}"
        case _:
            return "write augment=f, where f(images, rng) gives images, or augment=None"


def _named(value: Any, known: Mapping[str, str]) -> str | None:
    """How what a class or a text names is made."""
    found = near(value.__name__ if isinstance(value, type) else value, known)
    return None if found is None else known[found]
