"""The engine: members stacked, one step for all of them, one readable loop."""
