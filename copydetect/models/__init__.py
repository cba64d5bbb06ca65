"""The bundled models, their cards and licences."""

from pathlib import Path

MODELS = Path(__file__).parent
"""The folder that they are in."""
