"""Detectors of two stages: proposals of regions, then class and box of each."""
