"""Vectors → a partition and shards of inverted lists."""
