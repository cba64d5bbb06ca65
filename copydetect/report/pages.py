"""The pages themselves: HTML files without any outside resource, each of a few MB at most."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from copydetect import tables
from copydetect.report.evidence import PairEvidence
from copydetect.report.run_view import Group, RunTables, RunView, Thumbnails, visible
from copydetect.runs import Manifest
from copydetect.summary import notes_on_inputs, readable_bytes
from copydetect.types import ImageRef

_MEASURED = {
    "search_recall_at_1": "nearest neighbours that the search found",
    "search_recall_at_10": "ten nearest neighbours that it found",
    "search_copies_lost": "copies among them that it lost",
    "search_capped_queries": "images with more likely copies than are kept",
    "pairs_capped": "pairs with images that resemble too many others to be ranked there, too",
    "feature_recall": "nearest local features that it found; a copy needs few",
}
"""What the manifest's `quality` means, of a sample of queries that was also searched exactly."""

_PAGE_PICTURES = 200
"""Each is embedded in about 12 kB."""
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
    near = view.near_misses()
    pages = list(_paged(view, near))
    names = ["index.html", *(f"groups-{number}.html" for number in range(2, len(pages) + 1))]
    template = _environment().get_template("page.html")
    common = {
        "manifest": manifest,
        "view": view,
        "pages": names,
        "script": Markup(_FILTER_SCRIPT),
        "script_hash": _hash(_FILTER_SCRIPT),
        "groups_shown": sum(len(groups) for groups, _ in pages),
    }

    def page(number: int) -> bytes:
        groups, refs = pages[number]
        front = None if number else _front(manifest, run, view, near, plots or {})
        symbols = _symbols(refs, thumbnails(refs))
        text = template.render(common, page=number, groups=groups, symbols=symbols, front=front)
        return text.encode("utf-8", "replace")

    # The thumbnails of one page have gone when those of the next are made.
    for number in reversed(range(len(pages))):
        yield names[number], page(number)


def _paged(
    view: RunView, near: Iterable[PairEvidence]
) -> Iterator[tuple[list[Group], list[ImageRef]]]:
    """The groups of each page and the images that it shows: at most `_PAGE_PICTURES`, or all of one
    larger group. The first page shows the near misses as well."""
    page: list[Group] = []
    shown = dict.fromkeys(view.shown([], near))
    for group in view.groups():
        more = dict.fromkeys(view.shown([group]))
        if page and len(shown | more) > _PAGE_PICTURES:
            yield page, list(shown)
            page, shown = [], {}
        page.append(group)
        shown |= more
    yield page, list(shown)


def _symbols(
    refs: Iterable[ImageRef], thumbnails: Iterable[bytes | None]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Role and image_id of each image that has a thumbnail → the id to draw it by, its data URI."""
    found = enumerate(zip(refs, thumbnails, strict=True))
    return {
        (ref.role, ref.image_id): (f"t{number}", _uri(_mime(data), data))
        for number, (ref, data) in found
        if data is not None
    }


def _front(
    manifest: Manifest,
    run: RunTables,
    view: RunView,
    near: list[PairEvidence],
    plots: Mapping[str, bytes],
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
        "near_misses": near,
        "plots": {title: _uri("image/svg+xml", svg) for title, svg in plots.items()},
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


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


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
