"""The meaning as plain loops, and numerical gradients. The one rule: no code shared with what it checks."""
