"""Nets of any size without memory for their weights, to be counted and looked at but not run."""

from kerasdl.core.keras_graph import unallocated as unallocated
