"""Generative adversarial networks: networks by paper, their trainers, and what shows a collapse."""
