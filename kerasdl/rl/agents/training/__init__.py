"""Training of agents: loop, settings, callbacks, whole episodes, records and files."""
