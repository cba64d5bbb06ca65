"""The bytes of an image file → RGB pixels, whatever the format, hostile files included."""
