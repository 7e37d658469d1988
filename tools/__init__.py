"""What makes pages of the documentation; `make pages` runs it. Nothing here is part of the package."""
