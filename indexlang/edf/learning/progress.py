"""How a run shows how far it is: a bar where tqdm is installed, plain lines otherwise.

In: counts and texts. Out: what stands on the terminal. The one rule: showing changes nothing about the run.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol


class Bar(Protocol):
    """One bar: `with bar: bar.advance(50, "loss 0.31")`, at its end `bar.finish(...)`."""

    def __enter__(self) -> Bar: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def advance(self, count: int, text: str) -> None: ...

    def finish(self, text: str) -> None: ...


def bar(title: str, total: int, unit: str = "images", show: bool = True) -> Bar:
    """A bar for `total` units, of which some may be done at its start."""
    if not show:
        return _Silent()
    try:
        from tqdm import tqdm
    except ImportError:
        return _Lines(title, total, unit)
    return _Tqdm(tqdm(total=total, desc=title, unit=f" {unit}", unit_scale=False, file=sys.stdout))


class _Silent:
    def __enter__(self) -> _Silent:
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def advance(self, count: int, text: str) -> None:
        pass

    def finish(self, text: str) -> None:
        pass


class _Tqdm(_Silent):
    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __exit__(self, *details: object) -> None:
        self.inner.close()

    def advance(self, count: int, text: str) -> None:
        self.inner.set_postfix_str(text, refresh=False)
        self.inner.update(count)

    def finish(self, text: str) -> None:
        self.inner.set_postfix_str(text)


class _Lines(_Silent):
    """A line for each fifth of the way, and one at the end."""

    def __init__(self, title: str, total: int, unit: str) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done, self.fifth, self.start = 0, 1, time.perf_counter()

    def advance(self, count: int, text: str) -> None:
        self.done += count
        if self.done * 5 >= self.fifth * self.total and self.done < self.total:
            self.fifth = self.done * 5 // self.total + 1
            speed = self.done / max(time.perf_counter() - self.start, 1e-9)
            percent = 100 * self.done // self.total
            print(f"{self.title}: {percent:3d} %, {speed:,.0f} {self.unit}/s, {text}", flush=True)

    def finish(self, text: str) -> None:
        speed = self.done / max(time.perf_counter() - self.start, 1e-9)
        print(f"{self.title}: {speed:,.0f} {self.unit}/s, {text}", flush=True)
