"""Mathematics of diffusion, score and flow models; the names are those of `kerasdl.ops`."""
