"""Statements as loop nests, compiled in the process: schedules, LLVM IR, a pool of threads."""
