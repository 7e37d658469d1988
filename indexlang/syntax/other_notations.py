"""What is written in the notation of mathematics, or of einsum, in ours.

In: a text that is no statement of the language. Out: the one that was meant, or None. The one rule: only what can be
meant in one way is proposed.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from .tree import REDUCTIONS

_TURNED = ("T", "mT", "transpose", "permute", "swapaxes")
ATTRIBUTES = ("T", "mT", "shape", "size", "ndim")  # of arrays elsewhere
_SYMBOLS = {"Σ": "sum", "Π": "prod"}
_EINSUM = re.compile(r"(?:\.\.\.|[A-Za-z])+(?:,(?:\.\.\.|[A-Za-z])+)*->(?:\.\.\.|[A-Za-z])*")
_WORD_WITH_INDEX = re.compile(r"([a-z]+)_([A-Za-z]\d?)")
_CALL_OF_NAMES = re.compile(r"([^\W\d]\w*)\(( *[^\W\d]\w* *(?:, *[^\W\d]\w* *)*)\)")
_WORD = re.compile(r"[^\W\d][\w.]*")
_LETTER = re.compile(r"\.\.\.|[A-Za-z]")


def reduction_meant(name: str) -> str | None:
    """The reduction that a name stands for elsewhere: Σ, Π, Sum, ARGMAX; None if it is one of ours, or none."""
    found = _SYMBOLS.get(name, name.lower())
    return found if found in REDUCTIONS and found != name else None


def symbol_with_index(name: str) -> tuple[str, str] | None:
    """A sum sign with its index below, as `Σ_j`, or its name, as `sum_j`: the reduction and the index."""
    if (word := _WORD_WITH_INDEX.fullmatch(name)) is not None and word[1] in REDUCTIONS:
        return word[1], word[2]
    found = _SYMBOLS.get(name[:1])
    index = name[1:].lstrip("_")
    return (found, index) if found is not None and name[1:2] == "_" and index.isidentifier() else None


def function_meant(name: str, indices: Sequence[str], body: str) -> str | None:
    """What a function of other libraries is here, over these indices of its argument: `softmax[j](x[i,j])`.

    The inner reduction goes over all of the axis while the outer index stands for one place: it has a name of its own.
    """
    words = set(_WORD.findall(body))
    fresh = [n for n in "klmnpqrstuv" if n not in words and n not in indices]
    if not indices or len(indices) > len(fresh):
        return None
    inner = dict(zip(indices, fresh, strict=False))
    within = _WORD.sub(lambda m: inner.get(m[0], m[0]), body)
    outer, over = ",".join(indices), ",".join(inner.values())
    match name.lower().replace("_", ""):
        case "softmax":
            return f"exp({body} - logsumexp[{over}]({within}))"
        case "logsoftmax":
            return f"({body} - logsumexp[{over}]({within}))"
        case "var" | "variance":
            return f"mean[{outer}](({body} - mean[{over}]({within}))**2)"
        case "std":
            return f"sqrt(mean[{outer}](({body} - mean[{over}]({within}))**2))"
        case "average" | "avg":
            return f"mean[{outer}]({body})"
        case _:
            return None


def attribute_meant(tensor: str, subscripts: str, attribute: str) -> str | None:
    """What an attribute of an array is here, of `W[i,j]`: `W[j,i]` for `.T`, `size(x,0)` for `.shape`."""
    indices = [s.strip() for s in subscripts.split(",")]
    plain = all(s.isidentifier() for s in indices)
    if attribute in _TURNED:
        if plain and len(indices) == 2:
            return f"exchange the indices: write {tensor}[{indices[1]},{indices[0]}]"
        return "leave it out: which axis is which is said by its indices, exchange these where it is read"
    if attribute in ("shape", "size"):
        return f"write size({tensor},0), the size of its first axis"
    if attribute == "ndim":
        return "write the number of its axes"
    if attribute in REDUCTIONS and plain:
        return f"write {attribute}[{indices[-1]}]({tensor}[{subscripts}])"
    return None


def bracketed(text: str, functions: Container[str]) -> str:
    """A line whose subscripts stand in parentheses, with brackets: `y[i] = x[i]` for `y(i) = x(i)`."""
    return _CALL_OF_NAMES.sub(lambda m: m[0] if m[1] in functions else f"{m[1]}[{m[2]}]", text)


def einsum(text: str) -> str | None:
    """The statement that an einsum string says: `y[i,k] = A[i,j] * B[j,k]` for `ij,jk->ik`."""
    text = "".join(text.split())
    if _EINSUM.fullmatch(text) is None:
        return None
    left, right = text.split("->")
    operands, result = [_LETTER.findall(word) for word in left.split(",")], _LETTER.findall(right)
    letters = {letter for word in operands for letter in word}
    if not letters.issuperset(result) or len(set(result)) < len(result):
        return None
    if any(word.count("...") > 1 for word in operands) or ("..." in letters and "..." not in result):
        return None
    names = [n for n in "ABCDEFGHKLMNPQRSTUVWabcdefgh" if n not in letters]
    target = next((n for n in ("y", "z", "Y", "Z", "out") if n not in letters), None)
    if target is None or len(operands) > len(names):
        return None
    factors = " * ".join(f"{n}[{','.join(word)}]" for n, word in zip(names, operands, strict=False))
    return f"{target}[{','.join(result)}] = {factors}" if result else f"{target} = {factors}"
