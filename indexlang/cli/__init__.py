"""The command line: its commands, their arguments, the files they read and write, and what they print."""
