"""Rewrites of a Program that need sizes. In: a Program, its shapes and dtypes. Out: an equal Program."""
