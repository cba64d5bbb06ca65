"""The pages themselves: HTML files without any outside resource, each of a few MB at most."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from copydetect import tables
from copydetect.report.evidence import PairEvidence
from copydetect.report.run_view import (
    Group,
    RunTables,
    RunView,
    Thumbnails,
    visible,
)
from copydetect.runs import Manifest
from copydetect.summary import notes_on_inputs, readable_bytes

_MEASURED = {
    "search_recall_at_1": "nearest neighbours that the search found",
    "search_recall_at_10": "ten nearest neighbours that it found",
    "search_copies_lost": "copies among them that it lost",
    "search_capped_queries": "images with more likely copies than are kept",
    "pairs_capped": "pairs with images that resemble too many others to be ranked there, too",
    "feature_recall": "nearest local features that it found; a copy needs few",
}
"""What the manifest's `quality` means, of a sample of queries that was also searched exactly."""

_PAGE_BYTES = 2_500_000
_MAX_FAILURES = 500

_FILTER_SCRIPT = """
const field = document.getElementById("filter");
const order = document.getElementById("order");
const list = document.getElementById("groups");
if (field && list) {
  const groups = [...list.querySelectorAll(":scope > article")];
  document.querySelector(".tools").hidden = false;
  const status = document.getElementById("shown");
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    let shown = 0;
    for (const group of groups) {
      group.hidden = !group.dataset.names.toLowerCase().includes(wanted);
      shown += !group.hidden;
    }
    status.textContent = wanted ? `${shown} of ${groups.length} groups` : "";
  });
  order.addEventListener("change", () => {
    const key = order.value;
    groups.sort((a, b) => b.dataset[key] - a.dataset[key] || a.dataset.number - b.dataset.number);
    list.append(...groups);
  });
}
"""


_Key: TypeAlias = tuple[str, str]
"""Role and image_id of an image."""


@dataclass
class _Pictures:
    """The thumbnails of one page, each embedded once and drawn wherever it is named."""

    thumbnails: Mapping[_Key, bytes | None]
    symbols: dict[_Key, tuple[str, str]] = field(default_factory=dict)
    size_bytes: int = 0

    def symbol(self, image_id: str, role: str) -> str | None:
        """The id to draw an image by; None where it has no thumbnail."""
        key = (role, image_id)
        if key not in self.symbols:
            data = self.thumbnails[key]
            if data is None:
                return None
            uri = f"data:{_mime(data)};base64,{base64.b64encode(data).decode()}"
            self.symbols[key] = (f"t{len(self.symbols)}", uri)
            self.size_bytes += len(uri)
        return self.symbols[key][0]


def render_report(
    manifest: Manifest,
    run: RunTables,
    thumbnails: Thumbnails,
    plots: Mapping[str, bytes] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """The pages as (file name, HTML), index.html last: when it is there, all are.

    plots: SVG figures by title, such as a reliability diagram.
    """
    view = RunView(run)
    groups, near = list(view.groups()), view.near_misses()
    shown = list(_shown(groups, near))
    refs = [view.facts(image_id, role).ref for role, image_id in shown]
    drawn = dict(zip(shown, thumbnails(refs), strict=True))
    pages = list(_paged(groups, drawn))
    count = max(1, len(pages))
    names = ["index.html", *(f"groups-{number}.html" for number in range(2, count + 1))]
    template = _environment().get_template("page.html")
    common = {
        "manifest": manifest,
        "one_pile": view.one_pile,
        "pages": names,
        "script": Markup(_FILTER_SCRIPT),
        "script_hash": _hash(_FILTER_SCRIPT),
        "group_count": view.group_count,
        "groups_shown": sum(len(groups) for groups, _ in pages),
    }
    for number in range(count - 1, 0, -1):
        groups, pictures = pages[number]
        text = template.render(**common, page=number, groups=groups, pictures=pictures, front=None)
        yield names[number], text.encode("utf-8", "replace")
    groups, pictures = pages[0] if pages else ([], _Pictures(drawn))
    front = {**_front(manifest, run, view, plots or {}), "near_misses": near}
    _draw_all(pictures, near)
    text = template.render(**common, page=0, groups=groups, pictures=pictures, front=front)
    yield names[0], text.encode("utf-8", "replace")


def _shown(groups: Iterable[Group], near: Iterable[PairEvidence]) -> Iterable[_Key]:
    """The images that some page shows, each once."""
    members = [member for group in groups for member in group.members]
    pairs = [*(member.evidence for member in members if member.evidence), *near]
    drawn = (picture for pair in pairs for picture in (pair.query, pair.reference))
    keys = dict.fromkeys((member.facts.role, member.facts.image_id) for member in members)
    return keys | dict.fromkeys((picture.role, picture.image_id) for picture in drawn)


def _paged(
    groups: Iterable[Group], thumbnails: Mapping[_Key, bytes | None]
) -> Iterator[tuple[list[Group], _Pictures]]:
    """Groups in pages whose thumbnails stay below the size of a page."""
    page: list[Group] = []
    pictures = _Pictures(thumbnails)
    for group in groups:
        page.append(group)
        for member in group.members:
            pictures.symbol(member.facts.image_id, member.facts.role)
            _draw_all(pictures, [member.evidence] if member.evidence else [])
        if pictures.size_bytes > _PAGE_BYTES:
            yield page, pictures
            page, pictures = [], _Pictures(thumbnails)
    if page:
        yield page, pictures


def _draw_all(pictures: _Pictures, pairs: Iterable[PairEvidence]) -> None:
    """Embed both pictures of each pair: the template must find them before it lists them."""
    for pair in pairs:
        for picture in (pair.query, pair.reference):
            pictures.symbol(picture.image_id, picture.role)


def _front(
    manifest: Manifest, run: RunTables, view: RunView, plots: Mapping[str, bytes]
) -> dict[str, Any]:
    """The content of the first page alone: totals, near misses, failures, plots and settings."""
    failures, failure_count = _failures(run)
    longest = max(manifest.seconds.values(), default=0.0)
    return {
        "tiles": _tiles(run, view, failure_count),
        "checked": manifest.check.sentences() if manifest.check else [],
        "failures": failures,
        "failure_count": failure_count,
        "notes": notes_on_inputs(manifest.inputs),
        "plots": {
            title: f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
            for title, svg in plots.items()
        },
        "settings": sorted(_flat(manifest.settings)),
        "quality": list(_measured(manifest.quality)),
        "stages": [
            (stage, seconds, seconds / longest if longest else 0.0)
            for stage, seconds in sorted(manifest.seconds.items(), key=lambda item: -item[1])
        ],
    }


def _failures(run: RunTables) -> tuple[list[dict[str, Any]], int]:
    """The first failures, and how many there are."""
    shown: list[dict[str, Any]] = []
    count = 0
    for rows in run.failures(tables.FAILURES.names):
        shown += rows.slice(0, max(0, _MAX_FAILURES - count)).to_pylist()
        count += len(rows)
    return shown, count


def _tiles(run: RunTables, view: RunView, failures: int) -> list[tuple[str, str]]:
    """(figure, meaning) of the summary."""
    if view.one_pile:
        kept = view.group_count
        found = [
            (f"{kept:,}", "groups of copies" if kept != 1 else "group of copies"),
            (f"{view.members - kept:,}", "copies of these"),
            (f"{view.suggested:,}", "could go"),
            (readable_bytes(run.removable_bytes), "to save"),
        ]
    else:
        found = [
            (f"{view.group_count:,}", "queries that are copies"),
            (f"{view.accepted:,}", "pairs found"),
        ]
    return [
        (f"{view.images:,}", "images"),
        *found,
        (f"{view.repeats:,}", "byte-identical files"),
        (f"{failures:,}", "could not be read"),
    ]


def _measured(quality: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """(meaning, figure) of what a run measured of itself, with its interval where there is one."""
    for name, meaning in _MEASURED.items():
        if name not in quality:
            continue
        counted = name.endswith(("_queries", "_capped"))
        figure = f"{quality[name]:,.0f}" if counted else f"{quality[name]:.2%}"
        if f"{name}_high" in quality:
            low, high = quality.get(f"{name}_low", 0.0), quality[f"{name}_high"]
            figure += f" ({low:.2%} … {high:.2%})"
        yield meaning, figure


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(str(item) for item in value)
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _mime(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("copydetect.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "readable_bytes": readable_bytes,
        "number": _number,
    }
    return environment
