"""A failing sample as a test, ready to be pasted.

In: a Sample and its Failure. Out: Python. The one rule: the test builds its inputs with NumPy alone, and says in its
comment what was got and what is right.
"""

from __future__ import annotations

import re
import textwrap

from .sample import Sample
from .trial import Failure

HEAD = """\
import numpy as np
from numpy.random import default_rng
from random_programs.one import assert_right
from random_programs.sample import laid
"""


def as_test(sample: Sample, failure: Failure, seed: int | str = "") -> str:
    """A pytest function that fails as the sample does; HEAD goes before it."""
    name = re.sub(r"\W+", "_", f"test_random_{seed}_{failure.stage}")
    detail = textwrap.wrap(failure.detail.split("\n")[0], 110)[:6]
    text = sample.text.rstrip("\n")
    quoted = f'"""\\\n{text}\n"""' if "\n" in text else f'"{text}"'
    lines = [f"def {name}() -> None:", f"    # {failure.stage}, {failure.kind}: {failure.where}".rstrip(": ")]
    lines += [f"    # {line}" for line in detail]
    lines += [f"    text = {quoted}", "    inputs = {"]
    lines += [f"        {n!r}: {source}," for n, source in sample.sources().items()]
    lines += ["    }"]
    extra = [f"limits={sample.limits!r}"] if sample.limits != "default" else []
    extra += [f"cotangents={sample.cotangents!r}"] if sample.cotangents != "C" else []
    lines += [f"    assert_right({', '.join(['text', 'inputs', repr(failure.stage), *extra])})"]
    return "\n".join(lines) + "\n"
