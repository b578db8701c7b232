"""Blocks of segmenters: decoders that bring coarse maps back to the size of the image."""
