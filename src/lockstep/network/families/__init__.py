"""Bodies: the network proper, one file per family."""
