"""Variational and vector-quantized autoencoders; the names are those of `kerasdl.generative`."""
