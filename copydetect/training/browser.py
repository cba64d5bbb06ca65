"""Blocks of HTML → pixels, by a headless Chromium, many in one run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from copydetect.errors import InputError
from copydetect.images.decoding import decode
from copydetect.types import Pixels

_TALLEST_PX = 8000
_TIMEOUT_S = 600
_HEAD = '<!doctype html><meta charset=utf-8><body style="margin:0">'

Block = tuple[str, int, int]
"""HTML of a fixed size, its width and its height in px."""


def render(blocks: Sequence[Block], program: str = "chromium") -> list[Pixels]:
    """Draw each block by itself; InputError where there is no such program, or it fails."""
    drawn: list[Pixels] = []
    for some in _sheets(blocks):
        width, height = max(w for _, w, _ in some), sum(h for _, _, h in some)
        sheet = _screenshot("".join(html for html, _, _ in some), width, height, program)
        top = 0
        for _, wide, tall in some:
            drawn.append(np.ascontiguousarray(sheet[top : top + tall, :wide]))
            top += tall
    return drawn


def _sheets(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Blocks that fit on one long page."""
    some: list[Block] = []
    for block in blocks:
        if some and sum(tall for _, _, tall in some) + block[2] > _TALLEST_PX:
            yield some
            some = []
        some.append(block)
    if some:
        yield some


def _screenshot(body: str, width: int, height: int, program: str) -> Pixels:
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "page.png")
        page.write_text(
            f'<!doctype html><meta charset=utf-8><body style="margin:0">{body}', encoding="utf-8"
        )
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                   f"--user-data-dir={folder}/profile", f"--window-size={width},{height}",
                   f"--screenshot={shot}", page.as_uri()]  # fmt: skip
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise InputError(f"{program} could not draw a page: {error}") from error
        return decode(shot.read_bytes()).pixels
