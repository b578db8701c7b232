"""Forms in which layers and operations compute while a model is traced for a file."""
