"""What makes code: a folder for each kind of it."""
