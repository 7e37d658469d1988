"""The JAX backend: programs as array operations with static shapes, which XLA compiles.

In: a Program, sizes and dtypes of its inputs. Out: the source of a function of jax arrays. The one rule: nothing here
imports jax; only what is printed does, and what runs it (`load`).
"""
