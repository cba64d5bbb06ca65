"""What the user points at → `ImageRef`s, and their bytes.

`find_sources` runs once, where the job starts: it tells the kind of each input and cuts all of them
into sources. `read_source` runs on workers: it opens one source and yields its images with their
bytes. `read_refs` reads images again by their references.

| input | image_id |
|---|---|
| folder, glob | path relative to the folder, of a glob to the one before its first wildcard |
| images by name | path relative to the folder that holds all of them |
| manifest | its `image_id`, else its `uri`, made relative to the manifest's folder if below it |
| WebDataset `.tar` | name of the member, as it would be on disk if the shard were unpacked |
| Parquet with bytes | its `image_id`, else "file#row", the file relative to the input root |

Ids that repeat across shards or inputs are told apart later, see `repeated_ids`. A range in braces,
as in `shard-{000..012}.tar`, stands for each of its numbers.

Files are told by their extension, and those of unknown extension by their first bytes; hidden ones
are not looked at. Where a folder holds several kinds, images win over shards, shards over Parquet,
Parquet over CSV. What is passed over is counted by reason; a folder that cannot be listed is a
failure. Names of one file (hard links) are one image.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from copydetect.errors import ImageError, InputError
from copydetect.images import sniff_format
from copydetect.inputs.containers import (
    check_parquet,
    check_tar,
    find_binary_column,
    list_parquet,
    list_tar,
    open_parquet,
    read_ranges,
    read_rows,
    read_whole,
)
from copydetect.inputs.manifests import manifest_rows
from copydetect.inputs.row_copies import copy_rows
from copydetect.raw import RAW_EXTENSIONS, can_read_raw
from copydetect.storage import Storage, StoredFile, Survey
from copydetect.types import Failure, ImageRef, Role

SourceKind = Literal["files", "tar", "parquet", "manifest"]

IMAGE_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
) | {".avif", ".heic", ".heif", ".hif"}
_OTHER_EXTENSIONS = frozenset(
    [
        ".txt",
        ".md",
        ".json",
        ".jsonl",
        ".xml",
        ".yaml",
        ".yml",
        ".html",
        ".htm",
        ".css",
        ".js",
        ".py",
        ".log",
        ".ini",
        ".cfg",
        ".sqlite",
        ".db",
        ".lock",
        ".pdf",
        ".doc",
        ".docx",
        ".xls",
        ".xlsx",
        ".ppt",
        ".pptx",
        ".odt",
        ".svg",
        ".psd",
        ".ai",
        ".eps",
        ".npy",
        ".npz",
        ".pt",
        ".pickle",
        ".pkl",
        ".bin",
        ".mp4",
        ".mov",
        ".avi",
        ".mkv",
        ".webm",
        ".m4v",
        ".mpg",
        ".mpeg",
        ".wmv",
        ".3gp",
        ".mp3",
        ".wav",
        ".flac",
        ".ogg",
        ".m4a",
        ".aac",
        ".zip",
        ".gz",
        ".tgz",
        ".bz2",
        ".xz",
        ".zst",
        ".7z",
        ".rar",
        ".exe",
        ".dll",
        ".so",
        ".xmp",
        ".thm",
        ".aae",
    ]
)
"""Known to be no images, whatever they begin with: they are not opened."""

HARD_LINK = "further names of a listed file (hard links)"
_FIRST_BYTES = 64
_CONTAINER_KINDS: dict[str, SourceKind] = {
    ".tar": "tar",
    ".parquet": "parquet",
    ".csv": "manifest",
}
_PRECEDENCE: tuple[SourceKind, ...] = ("files", "tar", "parquet", "manifest")
_FILES_TOGETHER = 256
_ROWS_TOGETHER = 1024
_CONTAINERS_CHECKED = 8
_SPECS_SHOWN = 3
_LARGEST_RANGE = 1_000_000
_BRACES = re.compile(r"\{(?:(?P<first>\d+)\.\.(?P<last>\d+)|(?P<words>[^{},]*(?:,[^{},]*)+))\}")


def image_extensions() -> frozenset[str]:
    """Extensions of what can be read here: RAW files only where `rawpy` is installed."""
    return IMAGE_EXTENSIONS | RAW_EXTENSIONS if can_read_raw() else IMAGE_EXTENSIONS


@dataclass(frozen=True)
class Source:
    """A piece of the input, the work of one worker: up to 256 files, or one container.

    names: relative to `root`, with forward slashes; one name where it is a container; exclude:
    globs of images that are left out; unreadable: folders that cannot be listed, and why.
    """

    kind: SourceKind
    root: str
    names: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()

    def uris(self) -> list[str]:
        """Where the files are."""
        return [_below(self.root, name) for name in self.names]

    @property
    def origin(self) -> str:
        """What tells equal image_ids of two sources apart: the container, or the root of files."""
        return self.root if self.kind == "files" else self.uris()[0]


@dataclass(frozen=True)
class Sources:
    """One or several inputs, cut into pieces.

    specs: what the user pointed at; file_count: images or containers that were found; skipped: how
    many files were passed over, by their extension or what else they are; excluded: how many files
    were left out by a glob.
    """

    specs: tuple[str, ...]
    pieces: tuple[Source, ...]
    file_count: int
    skipped: dict[str, int]
    excluded: int = 0

    @property
    def named(self) -> str:
        """The inputs, for a message."""
        shown = ", ".join(self.specs[:_SPECS_SHOWN])
        more = len(self.specs) - _SPECS_SHOWN
        return f"{shown} and {more:,} more" if more > 0 else shown

    def plus(self, others: Sources) -> Sources:
        """Both together."""
        return Sources(
            self.specs + others.specs,
            self.pieces + others.pieces,
            self.file_count + others.file_count,
            dict(Counter(self.skipped) + Counter(others.skipped)),
            self.excluded + others.excluded,
        )


@dataclass(frozen=True)
class _Found:
    """What one input, or some images given by name, consist of."""

    kind: SourceKind
    root: str
    names: list[str]
    skipped: Counter[str]
    unreadable: tuple[tuple[str, str], ...] = ()
    identities: Mapping[str, str] = field(default_factory=dict)


def find_sources(
    storage: Storage, specs: str | Sequence[str], exclude: Sequence[str] = ()
) -> Sources:
    """Find out what each input is: a folder, a glob, a manifest, shards, Parquet or an image.

    exclude: globs; what they match, a path below the root of an input or a bare name, is left out.
    A file that two inputs hold, or one under several names, is listed once. Lists names, and opens
    no more than the first few containers, to see that they are what they claim, and the first bytes
    of files of unknown extension. InputError where there is nothing to read.
    """
    given = tuple(map(_without_file_scheme, [specs] if isinstance(specs, str) else specs))
    if not given:
        raise InputError("there is no input: name a folder, a glob, a manifest, .tar or .parquet")
    pieces: list[Source] = []
    seen: set[str] = set()
    skipped: Counter[str] = Counter()
    count = excluded = 0
    for found in _found(storage, [one for spec in given for one in expand_braces(spec)]):
        names = [name for name in found.names if not is_excluded(name, exclude)]
        excluded += len(found.names) - len(names)
        fresh = [name for name in names if _below(found.root, name) not in seen]
        seen.update(_below(found.root, name) for name in fresh)
        files, links = _first_names(fresh, found.identities, seen)
        pieces += _pieces(found.kind, found.root, files, tuple(exclude))
        if found.unreadable:
            pieces.append(Source("files", found.root, (), unreadable=found.unreadable))
        skipped += found.skipped + Counter({HARD_LINK: links})
        count += len(files)
    if not pieces:
        raise InputError(f"{', '.join(given)}: every file is excluded by {', '.join(exclude)}")
    _check_containers(storage, [piece for piece in pieces if piece.names])
    return Sources(given, tuple(pieces), count, dict(skipped), excluded)


def _first_names(
    names: Sequence[str], identities: Mapping[str, str], seen: set[str]
) -> tuple[list[str], int]:
    """Of several names of one file the first; and how many others there were."""
    kept = []
    for name in names:
        identity = identities.get(name, "")
        if not identity or identity not in seen:
            kept.append(name)
            seen.add(identity)
    return kept, len(names) - len(kept)


def expand_braces(spec: str) -> list[str]:
    """`shard-{000..012}.tar` and `{a,b}.tar` as the names that they stand for; InputError.

    A range keeps its leading zeros; what else stands in braces is part of the name.
    """
    found = _BRACES.search(spec)
    if not found:
        return [spec]
    before, after = spec[: found.start()], spec[found.end() :]
    if found["words"]:
        words = found["words"].split(",")
    else:
        first, last = int(found["first"]), int(found["last"])
        if not 0 <= last - first < _LARGEST_RANGE:
            raise InputError(
                f"{spec}: the range {found[0]} must go up, by at most {_LARGEST_RANGE:,}"
            )
        width = len(found["first"])
        words = [f"{number:0{width}d}" for number in range(first, last + 1)]
    return [name for word in words for name in expand_braces(f"{before}{word}{after}")]


def is_excluded(name: str, globs: Sequence[str]) -> bool:
    """Whether a glob matches a path below the root of its input, or its last part."""
    return any(
        fnmatch.fnmatchcase(name, glob) or fnmatch.fnmatchcase(posixpath.basename(name), glob)
        for glob in globs
    )


def _found(storage: Storage, specs: Sequence[str]) -> Iterator[_Found]:
    """What inputs consist of, in their order; images given by name come together, first."""
    by_name = [spec for spec in specs if len(specs) > 1 and _is_image_file(storage, spec)]
    if by_name:
        root = posixpath.commonpath([posixpath.dirname(spec) for spec in by_name])
        names = [spec[len(root) :].lstrip("/") for spec in by_name]
        yield _Found("files", root, names, Counter())
    single = set(by_name)
    for spec in specs:
        if spec not in single:
            yield _find_one(storage, spec)


def _is_image_file(storage: Storage, spec: str) -> bool:
    if posixpath.splitext(spec)[1].lower() not in image_extensions() or _is_glob(spec):
        return False
    if not storage.exists(spec):
        raise InputError(f"{spec} does not exist")
    return not storage.files_under(spec)


def _find_one(storage: Storage, spec: str) -> _Found:
    """What one input consists of; InputError where there is nothing to read."""
    root, survey = _survey_of(storage, spec)
    names = [file.uri[len(root) :].lstrip("/") for file in survey.files]
    names = [name for name in names if not name.startswith(".") and "/." not in name]
    extensions = image_extensions()
    by_kind: dict[SourceKind, list[str]] = {kind: [] for kind in _PRECEDENCE}
    others = Counter(survey.passed_over)
    for name in names:
        extension = posixpath.splitext(name)[1].lower()
        if extension in extensions or _starts_as_image(storage, root, name, extension):
            by_kind["files"].append(name)
        elif extension in _CONTAINER_KINDS:
            by_kind[_CONTAINER_KINDS[extension]].append(name)
        else:
            others[extension] += 1
    kind = next((kind for kind in _PRECEDENCE if by_kind[kind]), None)
    if kind is None:
        kinds = ", ".join(f"{n} {what or 'no extension'}" for what, n in others.most_common(5))
        raise InputError(
            f"{spec} holds no images, .tar shards, Parquet files or .csv manifest: "
            f"{len(names)} files of other kinds ({kinds})"
        )
    for other in set(_PRECEDENCE) - {kind}:
        others.update(posixpath.splitext(name)[1].lower() for name in by_kind[other])
    chosen = by_kind[kind]
    if kind == "parquet" and _is_manifest(storage, _below(root, chosen[0])):
        kind = "manifest"
    identities = {
        file.uri[len(root) :].lstrip("/"): file.identity for file in survey.files if file.identity
    }
    return _Found(kind, root, chosen, others, tuple(survey.unreadable), identities)


def _starts_as_image(storage: Storage, root: str, name: str, extension: str) -> bool:
    """Whether a file of unknown extension begins as an image does."""
    if extension in _OTHER_EXTENSIONS or extension in _CONTAINER_KINDS:
        return False
    try:
        with storage.open(_below(root, name)) as stream:
            return bool(sniff_format(stream.read(_FIRST_BYTES)))
    except (InputError, ImageError, OSError):
        return False


def list_source(
    storage: Storage, source: Source, role: Role = "image"
) -> tuple[list[ImageRef], list[Failure]]:
    """The images of one source, in its order, and what of it cannot be listed.

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


def _survey_of(storage: Storage, spec: str) -> tuple[str, Survey]:
    """The root of the input, and the files below it, sorted."""
    if not spec:
        raise InputError("the input is empty: name a folder, a glob, a manifest, .tar or .parquet")
    survey = storage.survey(spec)
    if survey.files:
        return spec.rstrip("/") or "/", survey
    if storage.exists(spec):
        _refuse_empty_folder(storage, spec)
        return posixpath.dirname(spec), Survey([StoredFile(spec, 0)])
    if not _is_glob(spec):
        raise InputError(f"{spec} does not exist")
    files = storage.matching(spec)
    if not files:
        raise InputError(f"no file matches {spec}")
    return _folder_before_wildcard(spec), Survey(files)


def _refuse_empty_folder(storage: Storage, spec: str) -> None:
    """InputError unless `spec`, which holds no files, is a file itself."""
    try:
        storage.open(spec).close()
    except InputError as error:
        raise InputError(f"{spec} holds no readable files ({error})") from error


def _is_glob(spec: str) -> bool:
    return any(letter in spec for letter in "*?[")


def _folder_before_wildcard(pattern: str) -> str:
    return posixpath.dirname(re.split(r"[*?[]", pattern, maxsplit=1)[0])


def _without_file_scheme(spec: str) -> str:
    return spec[len("file://") :] if spec.startswith("file:///") else spec


def _below(root: str, name: str) -> str:
    return f"{root.rstrip('/')}/{name}" if root else name


def _is_manifest(storage: Storage, uri: str) -> bool:
    """Whether a Parquet file lists URIs rather than holding bytes."""
    try:
        with open_parquet(storage, uri) as file:
            return "uri" in file.schema_arrow.names and not find_binary_column(file, uri, False)
    except InputError:
        return False


def _pieces(
    kind: SourceKind, root: str, names: Sequence[str], exclude: tuple[str, ...]
) -> list[Source]:
    size = _FILES_TOGETHER if kind == "files" else 1
    return [
        Source(kind, root, tuple(names[start : start + size]), exclude)
        for start in range(0, len(names), size)
    ]


def _check_containers(storage: Storage, pieces: Sequence[Source]) -> None:
    """InputError of the first container where none of the first few can be listed."""
    first = pieces[:_CONTAINERS_CHECKED]
    errors = [_check_container(storage, piece) for piece in first]
    if all(errors):
        raise errors[0] or InputError("the input holds no images")


def _check_container(storage: Storage, piece: Source) -> InputError | None:
    """Why a container cannot be listed; None where it can."""
    uri = piece.uris()[0]
    try:
        if piece.kind == "tar":
            check_tar(storage, uri, image_extensions())
        elif piece.kind == "parquet":
            check_parquet(storage, uri)
        elif piece.kind == "manifest" and not any(manifest_rows(storage, uri, "image")):
            raise InputError(f"{uri} is a manifest without rows")
    except InputError as error:
        return error
    return None


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
