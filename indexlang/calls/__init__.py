"""What a user calls: programs from text and files, Functions, their arguments, results and pullbacks."""
