"""The jobs. In a checkout their files are in the folder `pipelines` beside `copydetect`.

A wheel has that folder here, in place of this file, so that `copydetect` is the only name that it
puts into site-packages.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parents[2] / "pipelines")]
