"""The pages that a person looks at: groups with their evidence, near misses, failures, figures."""

from copydetect.report.evidence import PairEvidence, pair_evidence
from copydetect.report.pages import render_report
from copydetect.report.run_view import RunTables, Thumbnails, thumbnail_jpeg

__all__ = [
    "PairEvidence",
    "RunTables",
    "Thumbnails",
    "pair_evidence",
    "render_report",
    "thumbnail_jpeg",
]
