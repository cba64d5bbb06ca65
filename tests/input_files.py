"""Small inputs of every kind, and all that is read from one."""

import io
import tarfile

import pyarrow as pa
from PIL import Image
from pyarrow import parquet

from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import read_refs, read_source
from copydetect.storage.files import LocalStorage
from copydetect.types import Failure

STORAGE = LocalStorage()


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 40 % 256, number, 90)).save(buffer, "PNG")
    return buffer.getvalue() + bytes(number)


FILES = {"a.png": picture(1), "b/c.PNG": picture(2), "b/d e.png": picture(3)}


def write_tar(path, members, tar_format=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def write_parquet(path, columns, **settings):
    parquet.write_table(pa.table(columns), path, **settings)
    return path


def contents(spec):
    """Everything that an input gives: bytes, or the message of the failure, by image_id."""
    pieces = find_sources(STORAGE, str(spec)).pieces
    read = [pair for piece in pieces for pair in read_source(STORAGE, piece)]
    refs = [ref for ref, content in read if isinstance(content, bytes)]
    assert dict(read_refs(STORAGE, reversed(refs))) == {ref: dict(read)[ref] for ref in refs}
    return {
        ref.image_id: content.message if isinstance(content, Failure) else content
        for ref, content in read
    }
