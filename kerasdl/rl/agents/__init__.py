"""Agents, one algorithm a file, and what they share: base class, networks, presets, records and callbacks."""
