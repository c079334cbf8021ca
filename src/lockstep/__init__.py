"""Lockstep trains many neural networks as one."""
