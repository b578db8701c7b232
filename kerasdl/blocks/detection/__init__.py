"""Blocks of detectors: feature pyramids, and the stages of DarkNet and its successors."""
