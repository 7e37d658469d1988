"""Statements that run together, block by block. In: statements, sizes. Out: a Chain for each group of them."""
