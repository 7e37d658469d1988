"""`python -m indexlang`: the command line."""

from .cli.commands import entry

entry()
