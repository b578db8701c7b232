"""Diffusion, score and flow models: networks, noise schedules, one trainer, guidance and unrolled samplers."""
