"""A Program to an equal Program. The one rule: nothing here asks for a size."""
