"""Imitation: policies that learn from the actions of an expert."""
