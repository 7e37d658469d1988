"""What prints a Plan as code: a folder for each kind of it."""
