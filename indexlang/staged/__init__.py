"""Programs with blocks as they run: pieces without blocks, one after the other and once for each step. In: a Program,
sizes and dtypes. Out: stages, and what runs them. The one rule: a piece is a Program like any other, planned and
compiled by its backend.
"""
