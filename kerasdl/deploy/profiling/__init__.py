"""MACs, memory, receptive fields and latency. Imports core, export and the runtimes."""
