"""Matches → groups of copies, and the image of each that is kept."""
