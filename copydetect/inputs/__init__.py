"""What the user points at → references to images, and their bytes."""
