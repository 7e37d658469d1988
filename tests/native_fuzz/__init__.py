"""The native backend beside NumPy's: random programs and layers at real sizes, for several machines and threads."""
