"""The noun: what a Program is, without sizes; its text, its algebra and its check."""
