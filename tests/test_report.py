"""The pages: everything that a run found is on them, and nothing else gets in or out."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import math
import re

import numpy as np
import pyarrow as pa
import pytest

from copydetect import tables
from copydetect.pipelines.commands import report
from copydetect.report import RunTables, pages, pair_evidence, render_report, thumbnail_jpeg
from copydetect.report.run_view import RunView, visible
from copydetect.runs import Manifest, RoleInput
from copydetect.storage.files import LocalStorage
from copydetect.storage.remote import RecordedStorage
from copydetect.summary import readable_bytes, removable_bytes
from copydetect.types import Match

HOSTILE = [
    "<script>alert(1)</script>.jpg",
    "\" onload=\"alert(1)' x='.jpg",
    "new\nline.jpg",
    "rtl-\u202egpj.exe",
    "</style></svg>]]>.jpg",
    "{{ 7 * 7 }}.jpg",
    "שלום.jpg",
    "javascript:alert(1)",
]
MANIFEST = Manifest(
    "dedup", "run-1", {"k": 50, "channels": ["a", "b"]}, {}, {}, {"describe": 2.0, "list": 0.1}
)


def image(image_id, role="image", **fields):
    base = {
        "image_id": image_id,
        "role": role,
        "uri": image_id,
        "member": "",
        "format": "JPEG",
        "width": 400,
        "height": 300,
        "bytes": 50_000,
        "status": "ok",
    }
    return base | fields


def match(query, reference, confidence=0.9, transform=(1, 0, 0, 0, 1, 0, 0, 0, 1), **fields):
    square = [0.0, 0.0, 400.0, 0.0, 400.0, 300.0, 0.0, 300.0]
    base = {
        "query_id": query,
        "reference_id": reference,
        "query_uri": query,
        "reference_uri": reference,
        "similarity": 0.8,
        "score": 0.5,
        "confidence": confidence,
        "is_copy": confidence >= 0.5,
        "relation": "edited" if confidence >= 0.5 else "none",
        "direction": "query_is_copy",
        "transform": list(map(float, transform)),
        "inliers": 40,
        "query_region": [square],
        "reference_region": [square],
        "differs_region": [],
        "edits": ["crop"],
        "reason": f"why {query} & {reference}",
    }
    return base | fields


def in_batches(table):
    """As a run reads its tables: a few rows at a time."""
    return lambda columns: [table.slice(at, 2).select(columns) for at in range(0, len(table), 2)]


def run_of(images, matches=(), groups=(), failures=()):
    made = [
        pa.Table.from_pylist(list(rows), schema=schema)
        for rows, schema in (
            (images, tables.IMAGES),
            (matches, tables.MATCHES),
            (groups, tables.GROUPS),
            (failures, tables.FAILURES),
        )
    ]
    return RunTables(*map(in_batches, made), removable_bytes(made[2], made[0]))


def group(group_id, *ids):
    """The first is kept; of the others all but the last could go."""
    return [
        {
            "group_id": group_id,
            "image_id": i,
            "uri": i,
            "keep": i == ids[0],
            "suggested": i in ids[1:-1],
            "kept_id": ids[0],
            "kept_uri": ids[0],
            "relation": "same_picture",
            "certain": True,
            "reason": f"reason of {i}",
        }
        for i in ids
    ]


PIXELS = np.full((30, 40, 3), 128, np.uint8)


def rendered(run, thumbnails=lambda refs: [thumbnail_jpeg(PIXELS)] * len(refs), **keywords):
    return {
        name: page.decode() for name, page in render_report(MANIFEST, run, thumbnails, **keywords)
    }


class Parsed(html.parser.HTMLParser):
    """Tags, attributes and text of a page, with unclosed tags noticed."""

    VOID = frozenset(("meta", "input", "br", "img"))

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def hostile_run():
    return run_of(
        [image(name) for name in HOSTILE],
        [match(HOSTILE[1], HOSTILE[0]), match(HOSTILE[4], HOSTILE[5], 0.3)],
        group("g", *HOSTILE[:4]),
        [
            {
                "image_id": HOSTILE[0],
                "role": "image",
                "uri": "x",
                "stage": "decode",
                "error_type": "ImageError",
                "message": "<b>broken</b>",
            }
        ],
    )


def test_hostile_names_stay_text():
    (page,) = rendered(hostile_run()).values()
    parsed = Parsed(page)
    assert parsed.open == []
    assert parsed.tags.count("script") == 1
    assert parsed.tags.count("style") == 1
    assert parsed.tags.count("b") == 7, "the figures of the summary"
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert "<script>alert" not in page
    assert "\u202e" not in page
    text = "".join(parsed.text)
    assert "new⟨U+000A⟩line.jpg" in text
    assert "rtl-⟨U+202E⟩gpj.exe" in text
    assert HOSTILE[0] in text
    assert "<b>broken</b>" in text
    assert "{{ 7 * 7 }}.jpg" in text


def test_nothing_is_loaded_from_outside():
    (page,) = rendered(hostile_run(), plots={"A plot": b"<svg/>"}).values()
    parsed = Parsed(page)
    for tag, name, value in parsed.attributes:
        if name in ("src", "href", "action", "data", "srcset"):
            assert value.startswith(("#", "data:image/")), (tag, name, value[:80])
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_policy_allows_the_script_of_the_page_and_no_other():
    (page,) = rendered(hostile_run()).values()
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policies = [value for _, name, value in Parsed(page).attributes if name == "content"]
    assert any(f"script-src 'sha256-{digest}'" in policy for policy in policies)


def test_what_was_found_is_told():
    run = run_of(
        [image("a.jpg"), image("b.jpg"), image("c.jpg", duplicate_of="a.jpg")],
        [match("b.jpg", "a.jpg", 0.875)],
        group("g", "a.jpg", "b.jpg", "c.jpg"),
    )
    (page,) = rendered(run).values()
    text = re.sub(r"\s+", " ", "".join(Parsed(page).text))
    assert "1 group of copies" in text
    assert "2 copies of these" in text
    assert "1 could go" in text
    assert "50.0 kB to save" in text
    assert "reason of b.jpg" in text
    assert "0.875" in text
    assert "why b.jpg & a.jpg" in text
    assert "a, b" in text, "a setting that is a list"
    assert "None: every image was read." in text
    assert page.count("data:image/jpeg") == 3, "each thumbnail once"
    assert "<polygon" in page


def test_an_empty_run_and_missing_thumbnails():
    (page,) = rendered(run_of([])).values()
    assert "No copies were found" in page
    (page,) = rendered(hostile_run(), lambda refs: [None] * len(refs)).values()
    assert 'class="absent"' in page


def test_a_match_run_shows_queries_with_their_references():
    run = run_of(
        [image("same.jpg", "query"), image("same.jpg", "reference", width=10)],
        [match("same.jpg", "same.jpg")],
    )
    (page,) = rendered(run).values()
    assert "Queries that are copies" in page
    assert "10 × 300 px" in page
    assert page.count("data:image/jpeg") == 2, "query and reference are two images"


class TestEvidence:
    def drawn(self, transform, query=(400, 300), reference=(400, 300), **fields):
        row = match("q", "r", transform=transform, **fields)
        return pair_evidence(Match(**row), query, reference, ("image", "image"))

    def projected(self, overlay, x, y):
        """Where CSS puts a point of the layer, by the definition of matrix3d."""
        numbers = [float(n) for n in overlay.matrix3d[len("matrix3d(") : -1].split(",")]
        u, v, _, w = np.array(numbers).reshape(4, 4).T @ [x, y, 0, 1]
        return u / w, v / w

    def test_the_layer_lands_where_the_transform_says(self):
        transform = np.array([[-0.5, 0.1, 390], [0.05, 0.6, 20], [1e-4, 2e-4, 1]])
        region = [0.0, 0, 300, 0, 300, 500, 0, 500]
        pair = self.drawn(transform.ravel(), query=(300, 500), query_region=[region])
        overlay = pair.overlay
        assert overlay.layer.image_id == "q"
        point = np.array([120, 340, 1.0])
        expected = transform @ point
        expected = expected[:2] / expected[2] * (260 / 400)
        found = self.projected(overlay, 120 * 260 / 500, 340 * 260 / 500)
        assert found == pytest.approx(expected.tolist(), rel=1e-5)
        assert "mirrored" in pair.alignment

    def test_the_whole_is_the_ground_that_a_crop_lies_on(self):
        """The query is the whole here: the reference, its crop, is laid over it."""
        crop = [100.0, 100, 300, 100, 300, 250, 100, 250]
        pair = self.drawn((2, 0, -200, 0, 2, -200, 0, 0, 1), query_region=[crop])
        assert pair.overlay.base.image_id == "q"
        corner = self.projected(pair.overlay, 0, 0)
        assert corner == pytest.approx((100 * 260 / 400, 100 * 260 / 400))
        assert pair.alignment == "scaled by 2, 25% of the query is shared"

    @pytest.mark.parametrize(
        "transform",
        [[], [math.nan] * 9, [0] * 9, [1, 0, 0, 0, 1, 0, -1, 0, 1], [1] * 8],
    )
    def test_no_overlay_of_what_cannot_be_drawn(self, transform):
        assert self.drawn(transform).overlay is None

    def test_every_region_is_drawn(self):
        parts = [[0.0, 0, 100, 0, 100, 300, 0, 300], [200.0, 0, 300, 0, 300, 300, 200, 300]]
        pair = self.drawn((1, 0, 200, 0, 1, 0, 0, 0, 1), query_region=parts)
        assert [points.split()[0] for points in pair.query.polygons] == ["0.0,0.0", "200.0,0.0"]
        assert pair.query.covered == 0.5
        assert pair.query.corners == [(0.0, 0.0), (200.0, 0.0)]

    def test_regions_outside_the_picture_are_cut_at_its_border(self):
        region = [-50.0, -50, 450, -50, 450, 350, -50, 350]
        pair = self.drawn((1, 0, 0, 0, 1, 0, 0, 0, 1), query_region=[region])
        assert pair.query.polygons == ["0.0,0.0 400.0,0.0 400.0,300.0 0.0,300.0"]
        assert pair.alignment == "the same framing"
        assert self.drawn((1,), query_region=[[1.0, math.nan, 2, 3, 4, 5]]).query.polygons == []


def test_words():
    assert [readable_bytes(n) for n in (0, 999, 1000, 123_456, 2_500_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "123 kB",
        "2.5 MB",
    ]
    assert visible("a\u202eb\x00") == "a⟨U+202E⟩b⟨U+0000⟩"
    assert visible("\ud800") == "?"


def write_tables(run, out):
    """The files of a finished run."""
    storage, uris, counts = LocalStorage(), {}, {}
    for name in ("images", "matches", "groups", "failures"):
        uris[name] = [f"run-1/{name}/part-00000.parquet"]
        schema = tables.SCHEMAS[name]
        table = pa.concat_tables([schema.empty_table(), *getattr(run, name)(schema.names)])
        counts[name] = len(table)
        tables.write_table(storage, str(out / uris[name][0]), table)
    Manifest("dedup", "run-1", {}, uris, counts, {}).commit(storage, str(out))


def test_the_command(tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(thumbnail_jpeg(PIXELS))
    rows = [image("a.jpg", uri=str(tmp_path / "a.jpg")), image("gone.jpg", uri=str(tmp_path / "x"))]
    run = run_of(rows, [match("a.jpg", "gone.jpg")], group("g", "a.jpg", "gone.jpg"))
    out = tmp_path / "out"
    write_tables(run, out)
    earlier = RecordedStorage(str(out))
    earlier.write(str(out / "report" / "groups-7.html"), b"of an earlier run")
    (out / "report" / "mine.html").write_text("not of the project")
    assert report.main([str(out)]) == 0
    assert capsys.readouterr().out.strip() == f"{out}/report/index.html"
    names = {path.name for path in (out / "report").iterdir()}
    assert names == {"index.html", "mine.html"}
    assert 'class="absent"' in (out / "report" / "index.html").read_text()

    assert report.main([str(tmp_path)]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    assert report.main([str(out), "--pretty"]) == 2
    assert report.main([]) == 2


def test_the_largest_groups_are_drawn_and_the_rest_counted():
    ids = [f"i{number}" for number in range(7)]
    rows = [*group("small", *ids[:2]), *group("large", *ids[2:5]), *group("more", *ids[5:])]
    run = run_of([image(i) for i in ids], [match(ids[3], ids[2])], rows)
    view = RunView(run, most_groups=2)
    assert [group.size for group in view.groups()] == [3, 2]
    assert view.group_count == 3
    assert view.suggested == 1
    assert run.removable_bytes == 50_000


def test_near_misses_are_the_surest_refusals_of_images_that_are_not_grouped_together():
    ids = list("abcd")
    pairs = [match("a", "b"), match("c", "b", 0.4), match("a", "c", 0.45), match("a", "d", 0.2)]
    pairs.append(match("b", "d", 0.3))
    run = run_of([image(i) for i in ids], pairs, group("g", "a", "b", "c"))
    found = [(pair.query.image_id, pair.reference.image_id) for pair in RunView(run).near_misses()]
    assert found == [("b", "d"), ("a", "d")], "a and c are copies through b"


def test_what_a_run_measured_is_told_in_words() -> None:
    quality = {
        "search_recall_at_10": 0.9876,
        "search_recall_at_10_low": 0.98,
        "search_recall_at_10_high": 0.99,
        "search_recall_queries": 300.0,
        "search_capped_queries": 1234.0,
    }
    assert dict(pages._measured(quality)) == {
        "ten nearest neighbours that it found": "98.76% (98.00% … 99.00%)",
        "images with more likely copies than are kept": "1,234",
    }


def test_what_was_passed_over_is_told() -> None:
    read = RoleInput(named="photos", images=1, failed=0, skipped={".nef": 3, ".mp4": 1})
    run = run_of([image("a.jpg")], [], [])
    manifest = Manifest("dedup", "run-1", {}, {}, {}, {}, inputs={"image": read})
    *_, (_, page) = render_report(manifest, run, lambda refs: [None] * len(refs))
    assert "passed over: 3 .nef, 1 .mp4" in page.decode()
