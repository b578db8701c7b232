"""Strategies, workers and gradient sums. Imports core, data, optim and loop."""
