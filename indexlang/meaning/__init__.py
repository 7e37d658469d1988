"""What names mean. In: the tree of a file. Out: a Program. The one rule: nothing here asks for a size."""
