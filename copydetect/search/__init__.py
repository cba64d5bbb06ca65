"""Queries × shards → neighbours, and the votes of local features."""
