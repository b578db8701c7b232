"""Optimizers, wrappers around them, learning-rate schedules. Imports core."""
