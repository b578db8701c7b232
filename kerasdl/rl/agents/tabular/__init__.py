"""Tabular methods: dynamic programming over transition tables, temporal differences, bandits."""
