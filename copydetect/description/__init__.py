"""Pixels → views, descriptors and local features."""
