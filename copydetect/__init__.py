"""Find edited copies of images: describe, index, search, verify, group and report."""

__version__ = "0.1.0"
