"""NumPy's einsum strings as statements: both must agree, forward and for every gradient."""

from __future__ import annotations

import numpy as np
import pytest

import indexlang

SIZES = {letter: 2 + number % 3 for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}

CASES = """
i-> i->i ii-> ii->i ij->ji ij->i ij->j ij-> iij->ij iii->i iji->j ijk->kij
i,i-> i,i->i i,j->ij i,j->ji i,j-> ij,j->i ij,jk->ik ij,jk->ki ij,kj->ik ji,jk->ik ij,ij->ij ij,ij-> ij,ji->
bij,bjk->bik bij,bjk->ik bij,jk->bik bhqd,bhkd->bhqk ii,ij->j ij,jj->i ijk,ik->j abc,bd->acd ijk,ilm,njm,nlk,abc->
i,j,k->ijk ij,jk,kl->il i,ij,j-> bi,oij,bj->bo ea,fb,abcd,gc,hd->efgh a,ab,abc->abc ab,bc,cd,da->
...i->... ...ij,...jk->...ik ...i,i->... i...,i->... ...,...->...
ij,jk jk,ij ba ii ijj i,j
""".split()  # noqa: SIM905 (a table, not a list of words)


def translated(subscripts: str) -> tuple[str, list[str]]:
    """A statement for an einsum string, and the letters of each operand."""
    left, arrow, right = subscripts.partition("->")
    operands = left.split(",")
    if not arrow:  # the letters that occur once, in the order of the alphabet
        right = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))

    def access(name: str, letters: str) -> str:
        parts = letters.replace("...", ".")
        return name + (f"[{','.join('...' if p == '.' else p for p in parts)}]" if parts else "")

    factors = [access(f"X{k}", letters) for k, letters in enumerate(operands)]
    return f"{access('y', right)} = {' * '.join(factors)}", operands


def operand(letters: str, rng: np.random.Generator) -> np.ndarray:
    shape = []
    for part in letters.replace("...", "."):
        shape += [3, 2] if part == "." else [SIZES[part]]
    return rng.standard_normal(shape)


@pytest.mark.parametrize("subscripts", CASES)
def test_einsum(subscripts: str) -> None:
    statement, letters = translated(subscripts)
    rng = np.random.default_rng(len(subscripts))
    arrays = {f"X{k}": operand(text, rng) for k, text in enumerate(letters)}
    f = indexlang.compile(statement)
    y, pullback = f.vjp(**arrays)
    expected = np.einsum(subscripts, *arrays.values())
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    # The product is linear in each operand: its gradient is what the same einsum says of unit arrays.
    dy = rng.standard_normal(np.shape(expected))
    gradients = pullback(dy)
    assert list(gradients) == list(arrays)
    for name, x in arrays.items():
        numerical = np.empty(x.size)
        for position in range(x.size):
            unit = np.zeros(x.size)
            unit[position] = 1
            moved = {**arrays, name: unit.reshape(x.shape)}
            numerical[position] = np.sum(np.einsum(subscripts, *moved.values()) * dy)
        np.testing.assert_allclose(gradients[name], numerical.reshape(x.shape), rtol=1e-11, atol=1e-11)


def test_there_are_many() -> None:
    assert len(set(CASES)) == len(CASES) >= 50
