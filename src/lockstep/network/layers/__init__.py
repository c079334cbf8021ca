"""Layers that torch does not have in the form a stack needs."""
