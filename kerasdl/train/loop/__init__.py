"""Training loop: `run_steps` over a step function and a state.

Imports core alone; every room of train may import it. Knows no model.
"""
