"""Tracing, parity, the export pipeline, SavedModel. Imports core and data; every room of deploy may import it."""
