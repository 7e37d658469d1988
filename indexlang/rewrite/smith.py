"""Smith normal form of integer matrices.

In: an integer matrix A. Out: unimodular U and V and a diagonal S with U A V = S, each entry of the diagonal dividing
the next. The one rule: only unimodular steps (swap, add a multiple, change a sign), so that integer solutions of
A n = r are exactly those of S t = U r with n = V t.
"""

from __future__ import annotations

from collections.abc import Sequence

Matrix = list[list[int]]


def identity(n: int) -> Matrix:
    return [[int(i == j) for j in range(n)] for i in range(n)]


def smith(matrix: Sequence[Sequence[int]], columns: int | None = None) -> tuple[Matrix, Matrix, Matrix]:
    """(U, S, V) with U A V = S; `columns` is needed only where there are no rows.

    >>> smith([[2], [3]])[1]
    [[1], [0]]
    """
    s = [list(row) for row in matrix]
    rows = len(s)
    columns = len(s[0]) if s else columns or 0
    u, v = identity(rows), identity(columns)

    def add_row(source: int, target: int, times: int) -> None:
        for m in (s, u):
            m[target] = [a + times * b for a, b in zip(m[target], m[source], strict=True)]

    def add_column(source: int, target: int, times: int) -> None:
        for m in (s, v):
            for row in m:
                row[target] += times * row[source]

    def swap_rows(a: int, b: int) -> None:
        for m in (s, u):
            m[a], m[b] = m[b], m[a]

    def swap_columns(a: int, b: int) -> None:
        for m in (s, v):
            for row in m:
                row[a], row[b] = row[b], row[a]

    for k in range(min(rows, columns)):
        while True:
            entries = [(abs(s[i][j]), i, j) for i in range(k, rows) for j in range(k, columns) if s[i][j]]
            if not entries:
                return u, s, v
            _, i, j = min(entries)  # the least entry becomes the pivot: others shrink below it until all divide
            if i != k:
                swap_rows(i, k)
            if j != k:
                swap_columns(j, k)
            pivot = s[k][k]
            for i in range(k + 1, rows):
                add_row(k, i, -(s[i][k] // pivot))
            for j in range(k + 1, columns):
                add_column(k, j, -(s[k][j] // pivot))
            if any(s[i][k] for i in range(k + 1, rows)) or any(s[k][j] for j in range(k + 1, columns)):
                continue
            rest = [i for i in range(k + 1, rows) if any(e % pivot for e in s[i][k + 1 :])]
            if not rest:
                break
            add_row(rest[0], k, 1)  # brings an entry that the pivot does not divide into its row
        if s[k][k] < 0:
            s[k] = [-e for e in s[k]]
            u[k] = [-e for e in u[k]]
    return u, s, v


def rank(matrix: Sequence[Sequence[int]]) -> int:
    """The number of independent rows."""
    _, s, _ = smith(matrix)
    return sum(1 for k in range(min(len(s), len(s[0]) if s else 0)) if s[k][k])
