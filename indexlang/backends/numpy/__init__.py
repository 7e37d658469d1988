"""The NumPy backend: a Program with its sizes becomes stand-alone Python source, and the source a callable."""
