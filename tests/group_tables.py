"""Tables of images and matches that tests of grouping share."""

from __future__ import annotations

import pyarrow as pa

from copydetect import tables
from copydetect.grouping.groups import GroupOptions, group_copies
from copydetect.grouping.keepers import KeepOptions


def images_table(ids, duplicates=None, sizes=None, captured=None):
    """Images of 100 × 100 px and 1,000 bytes unless `sizes` has (width, height, bytes)."""
    rows = []
    for image_id in ids:
        width, height, size = (sizes or {}).get(image_id, (100, 100, 1000))
        rows.append(
            {
                "image_id": image_id,
                "role": "image",
                "uri": image_id,
                "member": "",
                "sha256": image_id,
                "format": "JPEG",
                "width": width,
                "height": height,
                "bytes": size,
                "captured_at": (captured or {}).get(image_id),
                "duplicate_of": (duplicates or {}).get(image_id),
                "status": "ok",
            }
        )
    return pa.Table.from_pylist(rows, schema=tables.IMAGES)


def matches_table(pairs):
    """(query, reference, confidence) tuples → matches; at least 0.5 is a copy."""
    rows = [
        {
            "query_id": query,
            "query_uri": query,
            "reference_uri": reference,
            "reference_id": reference,
            "similarity": confidence / 2,
            "score": confidence,
            "confidence": confidence,
            "is_copy": confidence >= 0.5,
            "relation": "edited" if confidence >= 0.5 else "none",
            "direction": "unknown",
            "transform": [],
            "inliers": 0,
            "query_region": [],
            "reference_region": [],
            "differs_region": [],
            "edits": [],
            "reason": "",
        }
        for query, reference, confidence in pairs
    ]
    return pa.Table.from_pylist(rows, schema=tables.MATCHES)


def grouped(ids, pairs, **keywords):
    """The groups as sorted lists of image_ids, sorted."""
    groups = {}
    for member in group_copies(images_table(ids), matches_table(pairs), **keywords):
        groups.setdefault(member.group_id, []).append(member.image_id)
    return sorted(sorted(group) for group in groups.values())


def star(hub, leaves, confidence=0.95):
    """An original and its edits, of which no two were recognised as copies of each other."""
    accepted = [(hub, leaf, confidence) for leaf in leaves]
    refused = [(a, b, 0.02) for a in leaves for b in leaves if a < b]
    return accepted + refused


def kept_by(rules, **keywords):
    return GroupOptions(keep=KeepOptions(tuple(rules.split(",")), **keywords))


def same_picture(rows):
    """(query, reference, confidence) tuples → matches of whole pictures."""
    whole = {"relation": "same_picture", "transform": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]}
    found = [row | whole for row in matches_table(rows).to_pylist()]
    return pa.Table.from_pylist(found, schema=tables.MATCHES)
