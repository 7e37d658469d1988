"""A Plan as NumPy code. In: a Plan. Out: stand-alone Python source, and the function that it defines."""
