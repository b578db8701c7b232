"""Formulas of layers and operations for the time in which a model is traced for a file."""
