"""Records of finished files: what a later run asks before it takes up what an earlier one left.

A run that is killed, a disk that fills up or a machine that loses power leave files that are
missing, empty or cut off. So each file of a run has a record, written after it: its size and its
SHA-256. A file without a record, or one that is not what its record says, is made again.

    run-…/matches/part-00000.parquet
    run-…/records/matches/part-00000.parquet.json
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import BinaryIO

from copydetect.json_values import parse_as

_FOLDER = "records"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Record:
    """What a finished file holds: its size, and its SHA-256 in hex."""

    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, stream: BinaryIO) -> Record:
        """That of the rest of a stream."""
        digest, size = hashlib.sha256(), 0
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
        return cls(size, digest.hexdigest())

    @classmethod
    def parse(cls, data: bytes) -> Record | None:
        """What `to_json` gave; None where it is damaged."""
        try:
            return parse_as(cls, data)
        except ValueError:
            return None

    def to_json(self) -> bytes:
        """As a file holds it."""
        return json.dumps(asdict(self)).encode()


def record_uri(folder: str, uri: str) -> str:
    """Where the record of a file below `folder` is, the folder of a run; "" for any other."""
    prefix = f"{folder.rstrip('/')}/"
    if not uri.startswith(prefix):
        return ""
    return f"{prefix}{_FOLDER}/{uri[len(prefix) :]}.json"


def records_uri(folder: str, below: str) -> str:
    """Where the records of all files in a folder below `folder` are; "" for any other."""
    return record_uri(folder, below).removesuffix(".json")
