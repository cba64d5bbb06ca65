"""A catalogue that grows every night: generations of immutable files, and one pointer to the last."""
