"""Display: reprs of settings and results, tables and pictures of notebooks. Imports core's files."""
