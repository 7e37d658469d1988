"""`python -m indexlang`: the command line."""

from .cli import entry

entry()
