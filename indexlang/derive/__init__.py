"""A Program to the Program of its gradients. The one rule: nothing here asks for a size."""
