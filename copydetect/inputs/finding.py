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
from dataclasses import dataclass, replace
from itertools import chain, islice

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
from copydetect.inputs.name_spools import FoundName, NameSpool
from copydetect.inputs.patterns import (
    expand_braces,
    is_excluded,
    is_glob,
    without_file_scheme,
)
from copydetect.inputs.piece_files import kept_pieces
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
    """What one input, or some images given by name, consist of; its names are in a spool.

    named: the kind that its files go by; kind: the same, but for Parquet that is a manifest; bytes:
    of all files.
    """

    named: SourceKind
    root: str
    skipped: Counter[str]
    unreadable: tuple[tuple[str, str], ...] = ()
    kind: SourceKind = "files"
    bytes: int = 0


def find_sources(
    storage: Storage, specs: str | Sequence[str], exclude: Sequence[str] = ()
) -> Sources:
    """Find out what each input is: a folder, a glob, a manifest, shards, Parquet or an image.

    exclude: globs; what they match, a path below the root of an input or a bare name, is left out.
    A file that two inputs hold, or one under several names, is listed once. Lists names, of which
    no more than some ten thousand are held, and opens no more than the first few containers, to
    see that they are what they claim, and the first bytes of files of unknown extension.
    InputError where there is nothing to read.
    """
    given = tuple(map(without_file_scheme, [specs] if isinstance(specs, str) else specs))
    if not given:
        raise InputError("there is no input: name a folder, a glob, a manifest, .tar or .parquet")
    names = NameSpool()
    try:
        found = _found(storage, [one for spec in given for one in expand_braces(spec)], names)
        cut = _Cut(found, tuple(exclude))
        pieces = kept_pieces(cut.pieces(names))
    finally:
        names.close()
    if not pieces:
        raise InputError(f"{', '.join(given)}: every file is excluded by {', '.join(exclude)}")
    _check_containers(storage, cut.first)
    skipped = sum((one.skipped for one in found), Counter({HARD_LINK: cut.links}))
    size = sum(one.bytes for one in found)
    return Sources(given, pieces, cut.files, dict(+skipped), cut.excluded, size)


class _Cut:
    """Cuts names into pieces, and counts them.

    first: the first few pieces with names; files, excluded, links: how many there are, were left
    out by a glob, and are further names of a file.
    """

    def __init__(self, found: Sequence[_Found], exclude: tuple[str, ...]) -> None:
        self._found = found
        self._exclude = exclude
        self._linked: set[str] = set()
        self.first: list[Source] = []
        self.files = self.excluded = self.links = 0

    def pieces(self, spool: NameSpool) -> Iterator[Source]:
        """All pieces; names are together as they come in batches, and sorted."""
        unreadable = [one.unreadable for one in self._found]
        for batch in spool.batches():
            seen: set[str] = set()
            for number, found in enumerate(self._found):
                mine = sorted(one for one in batch if one.of_input == number)
                for piece in self._pieces_of(found, mine, seen):
                    if len(self.first) < _CONTAINERS_CHECKED:
                        self.first.append(piece)
                    yield piece
                if unreadable[number]:
                    yield Source("files", found.root, (), unreadable=unreadable[number])
                    unreadable[number] = ()

    def _pieces_of(self, found: _Found, batch: list[FoundName], seen: set[str]) -> list[Source]:
        """seen: the URIs of inputs before, of this batch: a file's names are all in one."""
        chosen = [one for one in batch if one.kind == found.named]
        left = [one for one in chosen if not is_excluded(one.name, self._exclude)]
        self.excluded += len(chosen) - len(left)
        fresh = [one for one in left if below(found.root, one.name) not in seen]
        seen.update(below(found.root, one.name) for one in fresh)
        names = self._first_names(fresh)
        self.files += len(names)
        self.links += len(fresh) - len(names)
        beside = _names_beside([one.name for one in batch]) if found.kind == "files" else {}
        return _pieces(found, names, self._exclude, beside)

    def _first_names(self, files: Sequence[FoundName]) -> list[str]:
        """Of several names of one file the first."""
        kept = []
        for one in files:
            if not one.identity or one.identity not in self._linked:
                kept.append(one.name)
            if one.identity:
                self._linked.add(one.identity)
        return kept


def _found(storage: Storage, specs: Sequence[str], spool: NameSpool) -> list[_Found]:
    """What inputs consist of, in their order; images given by name come together, first."""
    by_name = [spec for spec in specs if len(specs) > 1 and _is_image_file(storage, spec)]
    inputs = []
    if by_name:
        root = posixpath.commonpath([posixpath.dirname(spec) for spec in by_name])
        number = spool.begin(root)
        for spec in by_name:
            spool.add(FoundName(number, spec[len(root) :].lstrip("/"), "files"))
        inputs.append(_Found("files", root, Counter()))
    single = set(by_name)
    others = (spec for spec in specs if spec not in single)
    return inputs + [_find_one(storage, spec, spool) for spec in others]


def _is_image_file(storage: Storage, spec: str) -> bool:
    if posixpath.splitext(spec)[1].lower() not in image_extensions() or is_glob(spec):
        return False
    if not storage.exists(spec):
        raise InputError(f"{spec} does not exist")
    return not storage.files_under(spec)


def _find_one(storage: Storage, spec: str, spool: NameSpool) -> _Found:
    """What one input consists of; InputError where there is nothing to read."""
    root, survey = _survey_of(storage, spec)
    number, extensions = spool.begin(root), image_extensions()
    by_kind: dict[SourceKind | None, Counter[str]] = {}
    first: dict[SourceKind | None, str] = {}
    size = 0
    for file in survey.files:
        size += file.size_bytes
        name = file.uri[len(root) :].lstrip("/")
        if name.startswith(".") or "/." in name:
            continue
        extension = posixpath.splitext(name)[1].lower()
        kind = CONTAINER_KINDS.get(extension)
        if extension in extensions or _starts_as_image(storage, root, name, extension):
            kind = "files"
        by_kind.setdefault(kind, Counter())[extension] += 1
        first[kind] = min(first.get(kind, name), name)
        spool.add(FoundName(number, name, kind, file.identity))
    others = survey.passed_over + by_kind.get(None, Counter())
    chosen = next((kind for kind in _PRECEDENCE if kind in by_kind), None)
    if chosen is None:
        kinds = ", ".join(f"{n} {what or 'no extension'}" for what, n in others.most_common(5))
        raise InputError(
            f"{spec} holds no images, .tar shards, Parquet files or .csv manifest: "
            f"only files of other kinds ({kinds})"
        )
    for other in by_kind.keys() - {None, chosen}:
        others += by_kind[other]
    is_manifest = chosen == "parquet" and _is_manifest(storage, below(root, first[chosen]))
    cut_as: SourceKind = "manifest" if is_manifest else chosen
    return _Found(chosen, root, others, tuple(survey.unreadable), cut_as, size)


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
    """The root of the input, and the files below it."""
    if not spec:
        raise InputError("the input is empty: name a folder, a glob, a manifest, .tar or .parquet")
    survey = storage.survey(spec)
    files = iter(survey.files)
    if first := list(islice(files, 1)):
        return spec.rstrip("/") or "/", replace(survey, files=chain(first, files))
    if storage.exists(spec):
        _refuse_empty_folder(storage, spec)
        return posixpath.dirname(spec), Survey([StoredFile(spec, 0)])
    if not is_glob(spec):
        raise InputError(f"{spec} does not exist")
    matching = storage.matching(spec)
    if not matching:
        raise InputError(f"no file matches {spec}")
    return folder_before_wildcard(spec), Survey(matching)


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


def _pieces(
    found: _Found,
    names: Sequence[str],
    exclude: tuple[str, ...],
    beside: Mapping[str, tuple[str, ...]],
) -> list[Source]:
    """beside: the companions of names that have some."""
    size = _FILES_TOGETHER if found.kind == "files" else 1
    together = (tuple(names[start : start + size]) for start in range(0, len(names), size))
    return [
        Source(
            found.kind,
            found.root,
            some,
            exclude,
            companions=tuple((name, beside[name]) for name in some if name in beside),
        )
        for some in together
    ]


def _check_containers(storage: Storage, pieces: Sequence[Source]) -> None:
    """InputError of the first container where none of these can be listed."""
    errors = [_check_container(storage, piece) for piece in pieces]
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
