"""Pretraining of transformers on bare texts; the names are those of `kerasdl.sequence`."""
