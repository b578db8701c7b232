"""Datasets embedded in kerasdl or its dependencies. Imports the rest of data; `data.loading` alone imports it."""
