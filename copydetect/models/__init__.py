"""The bundled models, their cards and licences."""

from pathlib import Path

MODELS = Path(__file__).parent
"""The folder that they are in."""

DEFAULT_MODEL = "descriptor-lite0"
"""The bundled descriptor that a run takes unless it is told another one."""
