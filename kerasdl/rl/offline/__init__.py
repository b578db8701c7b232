"""Offline reinforcement learning: policies from transitions that others have made, without an environment to try."""
