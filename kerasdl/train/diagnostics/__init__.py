"""Learning-rate and batch-size finders, step profiler, gradient monitor.

Imports every room of train but methods and evaluation.
"""
