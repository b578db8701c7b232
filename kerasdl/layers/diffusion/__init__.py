"""Layers of diffusion networks; the names are those of `kerasdl.layers`."""
