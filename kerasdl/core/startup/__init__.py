"""What happens around the first import of a heavy package: silence, a worker's early start, optional packages."""
