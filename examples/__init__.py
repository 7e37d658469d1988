"""Programs written as index equations, and what can be done with them."""
