"""Mathematics of sequences; the names are those of `kerasdl.ops`."""
