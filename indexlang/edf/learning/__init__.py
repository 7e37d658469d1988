"""Training: optimisers, schedules, data, and what is kept in files."""
