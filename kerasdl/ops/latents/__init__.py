"""Mathematics of latent variables and codes; the names are those of `kerasdl.ops`."""
