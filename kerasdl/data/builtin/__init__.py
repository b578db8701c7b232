"""Data that travel with kerasdl or with its dependencies. Imports the rest of data; `data.loading` alone imports it."""
