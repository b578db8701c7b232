"""Layers of latent variables and codes; their names are those of `kerasdl.layers`."""
