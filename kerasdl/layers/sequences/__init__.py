"""Layers of sequences; their names are those of `kerasdl.layers`."""
