"""Autoencoders and what they are used for; the names are those of `kerasdl.generative`."""
