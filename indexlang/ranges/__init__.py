"""How far an index runs, as forms in the sizes; no size is known here."""
