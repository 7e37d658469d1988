"""indexlang: layers as index equations, their gradients derived, both directions run on NumPy."""
