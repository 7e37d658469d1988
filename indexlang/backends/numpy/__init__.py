"""NumPy code. In: a Program, its sizes and dtypes. Out: stand-alone Python source, and what it does when called."""
