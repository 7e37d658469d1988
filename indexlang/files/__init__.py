"""Files of arrays: written whole, read within bounds."""
