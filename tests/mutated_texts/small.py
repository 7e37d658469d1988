"""A failing text made small.

In: a text and its failure. Out: a text that fails in the same way. The one rule: what is left out is lines, then words.
"""

from __future__ import annotations

import time
from dataclasses import replace
from random import Random

from .attempt import Failure, tried
from .changes import WORD
from .sources import Text

SECONDS = 90


def shrunk(name: str, text: Text, failure: Failure) -> Text:
    """The text without what it fails without."""
    end = time.monotonic() + SECONDS

    def fails(candidate: str) -> bool:
        found, _ = tried(replace(text, text=candidate), Random(name))
        return found is not None and found.signature == failure.signature

    best = text.text
    for parts in (lambda t: t.splitlines(keepends=True), WORD.findall):
        size = max(1, len(parts(best)) // 2)
        while size:
            words, k = parts(best), 0
            while k < len(words) and time.monotonic() < end:
                candidate = words[:k] + words[k + size :]
                if candidate and fails("".join(candidate)):
                    words = candidate
                else:
                    k += size
            best = "".join(words)
            size //= 2
    return replace(text, text=best)
