"""Policies apart from the agent that trained them: players in an environment, and tasks of bundles."""
