"""Sizes and dtypes enter. In: a Program, the shapes and dtypes of its inputs. Out: those of all its tensors."""
