"""Layers of parameter-efficient tuning: learned changes of frozen weights, learned prefixes of keys and values."""
