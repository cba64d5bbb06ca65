"""Candidate pairs → matches: geometry, aligned pixels, a decision with its evidence."""
