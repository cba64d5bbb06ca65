"""The recipes that made the bundled models, and that make new ones."""
