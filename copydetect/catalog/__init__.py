"""A catalogue that grows: generations of files that never change, and a pointer to the last."""
