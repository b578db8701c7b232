"""Start-up: import hooks, silence of native libraries, early start of workers, optional packages."""
