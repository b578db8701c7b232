"""`run_steps`, a loop over a step and a state.

Imports core alone; every room of train may import it. Knows no model.
"""
