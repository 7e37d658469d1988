"""The version of the package: one number, for the package, the command line and emitted code."""

__version__ = "0.1.0"
