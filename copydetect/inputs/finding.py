"""What the user points at → sources: pieces of work for workers.

`find_sources` runs once, where the job starts: it tells the kind of each input and cuts all of them
into sources.

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

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from copydetect.errors import ImageError, InputError
from copydetect.images.decoding import sniff_format
from copydetect.inputs.companions import companions
from copydetect.inputs.containers import (
    check_parquet,
    check_tar,
    find_binary_column,
    open_parquet,
)
from copydetect.inputs.extensions import (
    CONTAINER_KINDS,
    OTHER_EXTENSIONS,
    SourceKind,
    image_extensions,
)
from copydetect.inputs.manifests import manifest_rows
from copydetect.inputs.patterns import (
    expand_braces,
    is_excluded,
    is_glob,
    without_file_scheme,
)
from copydetect.inputs.sources import Source, Sources, below
from copydetect.storage.files import Storage, StoredFile, Survey
from copydetect.storage.globs import folder_before_wildcard

HARD_LINK = "further names of a listed file (hard links)"
_FIRST_BYTES = 64
_PRECEDENCE: tuple[SourceKind, ...] = ("files", "tar", "parquet", "manifest")
_FILES_TOGETHER = 256
_CONTAINERS_CHECKED = 8


@dataclass(frozen=True)
class _Found:
    """What one input, or some images given by name, consist of."""

    kind: SourceKind
    root: str
    names: list[str]
    skipped: Counter[str]
    unreadable: tuple[tuple[str, str], ...] = ()
    identities: Mapping[str, str] = field(default_factory=dict)
    companions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    bytes: int = 0


def find_sources(
    storage: Storage, specs: str | Sequence[str], exclude: Sequence[str] = ()
) -> Sources:
    """Find out what each input is: a folder, a glob, a manifest, shards, Parquet or an image.

    exclude: globs; what they match, a path below the root of an input or a bare name, is left out.
    A file that two inputs hold, or one under several names, is listed once. Lists names, and opens
    no more than the first few containers, to see that they are what they claim, and the first bytes
    of files of unknown extension. InputError where there is nothing to read.
    """
    given = tuple(map(without_file_scheme, [specs] if isinstance(specs, str) else specs))
    if not given:
        raise InputError("there is no input: name a folder, a glob, a manifest, .tar or .parquet")
    pieces: list[Source] = []
    seen: set[str] = set()
    skipped: Counter[str] = Counter()
    count = excluded = size = 0
    for found in _found(storage, [one for spec in given for one in expand_braces(spec)]):
        names = [name for name in found.names if not is_excluded(name, exclude)]
        excluded += len(found.names) - len(names)
        fresh = [name for name in names if below(found.root, name) not in seen]
        seen.update(below(found.root, name) for name in fresh)
        files, links = _first_names(fresh, found.identities, seen)
        pieces += _pieces(found, files, tuple(exclude))
        if found.unreadable:
            pieces.append(Source("files", found.root, (), unreadable=found.unreadable))
        skipped += found.skipped + Counter({HARD_LINK: links})
        count += len(files)
        size += found.bytes
    if not pieces:
        raise InputError(f"{', '.join(given)}: every file is excluded by {', '.join(exclude)}")
    _check_containers(storage, [piece for piece in pieces if piece.names])
    return Sources(given, tuple(pieces), count, dict(skipped), excluded, size)


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


def _found(storage: Storage, specs: Sequence[str]) -> Iterator[_Found]:
    """What inputs consist of, in their order; images given by name come together, first."""
    by_name = [spec for spec in specs if len(specs) > 1 and _is_image_file(storage, spec)]
    if by_name:
        root = posixpath.commonpath([posixpath.dirname(spec) for spec in by_name])
        names = [spec[len(root) :].lstrip("/") for spec in by_name]
        yield _Found("files", root, names, Counter(), companions=_names_beside(names))
    single = set(by_name)
    for spec in specs:
        if spec not in single:
            yield _find_one(storage, spec)


def _is_image_file(storage: Storage, spec: str) -> bool:
    if posixpath.splitext(spec)[1].lower() not in image_extensions() or is_glob(spec):
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
        elif extension in CONTAINER_KINDS:
            by_kind[CONTAINER_KINDS[extension]].append(name)
        else:
            others[extension] += 1
    kind = next((kind for kind in _PRECEDENCE if by_kind[kind]), None)
    if kind is None:
        kinds = ", ".join(f"{n} {what or 'no extension'}" for what, n in others.most_common(5))
        raise InputError(
            f"{spec} holds no images, .tar shards, Parquet files or .csv manifest: "
            f"only files of other kinds ({kinds})"
        )
    for other in set(_PRECEDENCE) - {kind}:
        others.update(posixpath.splitext(name)[1].lower() for name in by_kind[other])
    chosen = by_kind[kind]
    if kind == "parquet" and _is_manifest(storage, below(root, chosen[0])):
        kind = "manifest"
    identities = {
        file.uri[len(root) :].lstrip("/"): file.identity for file in survey.files if file.identity
    }
    beside = _names_beside(names) if kind == "files" else {}
    size = sum(file.size_bytes for file in survey.files)
    return _Found(kind, root, chosen, others, tuple(survey.unreadable), identities, beside, size)


def _names_beside(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names of the files that belong to each picture that has some."""
    found = companions(names)
    return {name: tuple(one.name for one in others) for name, others in found.items()}


def _starts_as_image(storage: Storage, root: str, name: str, extension: str) -> bool:
    """Whether a file of unknown extension begins as an image does."""
    if extension in OTHER_EXTENSIONS or extension in CONTAINER_KINDS:
        return False
    try:
        with storage.open(below(root, name)) as stream:
            return bool(sniff_format(stream.read(_FIRST_BYTES)))
    except (InputError, ImageError, OSError):
        return False


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
    if not is_glob(spec):
        raise InputError(f"{spec} does not exist")
    files = storage.matching(spec)
    if not files:
        raise InputError(f"no file matches {spec}")
    return folder_before_wildcard(spec), Survey(files)


def _refuse_empty_folder(storage: Storage, spec: str) -> None:
    """InputError unless `spec`, which no files lie below, is a file itself."""
    try:
        storage.open(spec).close()
    except InputError as error:
        if os.path.isdir(spec):
            raise InputError(f"{spec} holds no files") from error
        raise InputError(f"{spec} cannot be used: {error}") from error


def _is_manifest(storage: Storage, uri: str) -> bool:
    """Whether a Parquet file lists URIs rather than holding bytes."""
    try:
        with open_parquet(storage, uri) as file:
            return "uri" in file.schema_arrow.names and not find_binary_column(file, uri, False)
    except InputError:
        return False


def _pieces(found: _Found, names: Sequence[str], exclude: tuple[str, ...]) -> list[Source]:
    size = _FILES_TOGETHER if found.kind == "files" else 1
    together = (tuple(names[start : start + size]) for start in range(0, len(names), size))
    return [
        Source(
            found.kind,
            found.root,
            some,
            exclude,
            companions=tuple(
                (name, found.companions[name]) for name in some if name in found.companions
            ),
        )
        for some in together
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
