"""What indexlang costs and gains, measured: `python -m benchmarks overhead`."""
