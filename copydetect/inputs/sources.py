"""Sources, cut out of the input by `finding`, → their images and the bytes of these.

`read_source` runs on workers: it opens one source and yields its images with their bytes.
`read_refs` reads images again by their references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from copydetect.errors import InputError
from copydetect.inputs.containers import list_parquet, list_tar, read_ranges, read_rows, read_whole
from copydetect.inputs.extensions import SourceKind, image_extensions
from copydetect.inputs.manifests import manifest_rows
from copydetect.inputs.patterns import is_excluded
from copydetect.inputs.row_copies import copy_rows
from copydetect.storage.files import Storage
from copydetect.types import Failure, ImageRef, Role

_ROWS_TOGETHER = 1024
_SPECS_SHOWN = 3


@dataclass(frozen=True)
class Source:
    """A piece of the input, the work of one worker: up to 256 files, or one container.

    names: relative to `root`, with forward slashes; one name where it is a container; exclude:
    globs of images that are left out; unreadable: folders that cannot be listed, and why;
    companions: files that some of `names` have beside them, see `inputs.companions`.
    """

    kind: SourceKind
    root: str
    names: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()
    companions: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def uris(self) -> list[str]:
        """Where the files are."""
        return [below(self.root, name) for name in self.names]

    def uris_beside(self) -> dict[str, tuple[str, ...]]:
        """Where the companions are of each file that has some."""
        return {
            below(self.root, name): tuple(below(self.root, other) for other in others)
            for name, others in self.companions
        }

    @property
    def origin(self) -> str:
        """What tells equal image_ids of two sources apart: the container, or the root of files."""
        return self.root if self.kind == "files" else self.uris()[0]


@dataclass(frozen=True)
class Sources:
    """One or several inputs, cut into pieces.

    specs: what the user pointed at; pieces: a tuple, or `PieceFiles` where there are many;
    file_count: images or containers that were found; skipped: how
    many files were passed over, by their extension or what else they are; excluded: how many files
    were left out by a glob; bytes: no fewer than all files of folders and globs have together.
    """

    specs: tuple[str, ...]
    pieces: Sequence[Source]
    file_count: int
    skipped: dict[str, int]
    excluded: int = 0
    bytes: int = 0

    @property
    def named(self) -> str:
        """The inputs, for a message."""
        shown = ", ".join(self.specs[:_SPECS_SHOWN])
        more = len(self.specs) - _SPECS_SHOWN
        return f"{shown} and {more:,} more" if more > 0 else shown


def below(root: str, name: str) -> str:
    """The URI of a name below a root."""
    return f"{root.rstrip('/')}/{name}" if root else name


def list_source(
    storage: Storage, source: Source, role: Role = "image"
) -> tuple[list[ImageRef], list[Failure]]:
    """The images of one source, in its order, and failures for what cannot be listed.

    A container that is damaged gives what can be read and a failure for the rest.
    """
    if source.kind == "files":
        refs, failures = _list_files(source, role)
        return refs, [*_list_unreadable(source, role), *failures]
    (uri,), (name,) = source.uris(), source.names
    try:
        if source.kind == "manifest":
            rows = list(_manifest_rows(storage, source, role))
            failures = [row for row in rows if isinstance(row, Failure)]
            return [row for row in rows if isinstance(row, ImageRef)], failures
        if source.kind == "tar":
            return list_tar(storage, uri, name, role, image_extensions())
        return list_parquet(storage, uri, name, role)
    except InputError as error:
        return [], [Failure(name, uri, "list", "InputError", str(error), role)]


def read_source(
    storage: Storage, source: Source, role: Role = "image"
) -> Iterator[tuple[ImageRef, bytes | Failure]]:
    """List one source and read it once, front to back: each image with its bytes.

    The rows of Parquet are copied to `storage.row_copies` as they pass, if that is set. Of a
    manifest no more than some rows are held.
    """
    if source.kind == "manifest":
        rows = _manifest_rows(storage, source, role)
        while batch := list(islice(rows, _ROWS_TOGETHER)):
            yield from _read_listed(storage, source, batch)
        return
    refs, failures = list_source(storage, source, role)
    refs = [ref for ref in refs if not is_excluded(ref.image_id, source.exclude)]
    for failure in failures:
        yield ImageRef(failure.image_id, failure.uri, "", role), failure
    if source.kind == "parquet" and storage.row_copies:
        yield from copy_rows(storage, source.uris()[0], read_refs(storage, refs))
    else:
        yield from read_refs(storage, refs)


def _manifest_rows(storage: Storage, source: Source, role: Role) -> Iterator[ImageRef | Failure]:
    """The rows of a manifest, and a failure for the rest where it is damaged."""
    (uri,), (name,) = source.uris(), source.names
    try:
        yield from manifest_rows(storage, uri, role)
    except InputError as error:
        yield Failure(name, uri, "list", "InputError", str(error), role)


def _read_listed(
    storage: Storage, source: Source, rows: Sequence[ImageRef | Failure]
) -> Iterator[tuple[ImageRef, bytes | Failure]]:
    refs = []
    for row in rows:
        if isinstance(row, Failure):
            yield ImageRef(row.image_id, row.uri, "", row.role), row
        elif not is_excluded(row.image_id, source.exclude):
            refs.append(row)
    yield from read_refs(storage, refs)


def read_refs(
    storage: Storage, refs: Iterable[ImageRef]
) -> Iterator[tuple[ImageRef, bytes | Failure]]:
    """The bytes of each image, or why they cannot be read.

    Those in one container come together, so that it is opened once. A tar is read by range, and so
    are copies of the rows of Parquet; without copies, each row group that is touched is decoded.
    """
    containers: dict[str, list[ImageRef]] = {}
    for ref in refs:
        if ref.member:
            containers.setdefault(ref.uri, []).append(ref)
        else:
            yield ref, read_whole(storage, ref)
    for uri, members in containers.items():
        in_tar = [ref for ref in members if ref.member.count(":") == 1]
        in_parquet = [ref for ref in members if ref.member.count(":") > 1]
        if in_tar:
            yield from read_ranges(storage, uri, in_tar)
        if in_parquet:
            yield from read_rows(storage, uri, in_parquet)


def _list_files(source: Source, role: Role) -> tuple[list[ImageRef], list[Failure]]:
    """References to plain files; a name that is no Unicode cannot stand in a table, and fails."""
    refs, failures = [], []
    for name, uri in zip(source.names, source.uris(), strict=True):
        if name.isascii() or _is_unicode(uri):
            refs.append(ImageRef(name, uri, "", role))
        else:
            shown = [_spelled_out(text) for text in (name, uri)]
            reason = "the file's name is not valid UTF-8: rename it"
            failures.append(Failure(shown[0], shown[1], "list", "InputError", reason, role))
    return refs, failures


def _list_unreadable(source: Source, role: Role) -> list[Failure]:
    failures = []
    for folder, why in source.unreadable:
        name, uri = _spelled_out(folder[len(source.root) :].lstrip("/")), _spelled_out(folder)
        reason = f"the folder cannot be listed: {why}"
        failures.append(Failure(f"{name}/", uri, "list", "PermissionError", reason, role, True))
    return failures


def _spelled_out(text: str) -> str:
    """What is no Unicode, in ASCII."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
