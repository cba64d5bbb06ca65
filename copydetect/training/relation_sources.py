"""Videos, photos, collections and drawn pages → measurements of their pairs, one file per source.

    python -m copydetect.pipelines.recipes relations collect FEATURES --designs 8
    python -m copydetect.pipelines.recipes relations collect FEATURES --small_designs 4
    python -m copydetect.pipelines.recipes relations collect DESIGNS --edited_designs 9 \\
        --backgrounds INPUT …
    python -m copydetect.pipelines.recipes relations collect FEATURES --frames VIDEO_OR_FOLDER …
    python -m copydetect.pipelines.recipes relations collect FEATURES --pictures INPUT …
    python -m copydetect.pipelines.recipes relations collect FEATURES --one_layout INPUT …

Videos, and folders of photos of one scene in order, go with --frames; collections of which no two
pictures are copies with --pictures, or with --one_layout where their pictures share a design. Pages
need a Chromium. The pairs of a source depend only on its name and the seed. Sources that are
already collected stay, so run the command once for each, two at a time if there are two cores.

Each source has a process of its own, since videos that break a decoder exist: such a source is lost
and named, the others are not.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import cv2
import numpy as np

from copydetect.description.descriptors import load_model
from copydetect.errors import ImageError, InputError
from copydetect.images.decoding import decode
from copydetect.images.resizing import limited
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import read_source
from copydetect.storage.files import LocalStorage
from copydetect.training.relation_decision import Labelled, measure_pairs
from copydetect.training.relation_pairs import (
    RelatedPair,
    copies_of,
    hard_copies_of,
    of_designs,
    of_edited_designs,
    of_frames,
    of_look_alikes,
    of_small_designs,
    of_strangers,
)
from copydetect.types import Pixels, Relation
from copydetect.workers.threads import work_in_one_thread

_READ, _FRAMES, _FRAME_PX = 600, 18, 720
_PHOTO_PX, _PICTURE_PX = 1200, 1000
_MOST_PHOTOS = 40
_TOGETHER = 100
"""Pictures that are drawn from, and pasted into each other, together: they are one source."""

Rng = np.random.Generator
File = tuple[str, bytes]
"""A name, or what stands for it, and the file of that name."""


@dataclass(frozen=True)
class SourceOptions:
    """The sources of pairs.

    designs: looks of each design of pages, which `chromium`, a program, draws; edited_designs: the
    same of edited ones, with which `backgrounds`, inputs of pictures, are pasted; small_designs:
    tens of boards, codes, patterns and icons; frames: videos, or folders of photos of one scene;
    pictures: inputs of pictures of which no two are copies; one_layout: such inputs whose pictures
    resemble each other; each: look-alikes of each kind, of 100 pictures; most: pictures of an
    input.
    """

    designs: int = 0
    edited_designs: int = 0
    chromium: str = "chromium"
    small_designs: int = 0
    frames: tuple[Path, ...] = ()
    pictures: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()
    one_layout: tuple[str, ...] = ()
    each: int = 4
    most: int = 600
    seed: int = 0


def collect(options: SourceOptions, features: Path) -> Iterator[tuple[str, int | None]]:
    """Write the measurements of each source; yields its name, and how many pairs it has.

    None instead where its process ended before it was done, as one does whose libraries crash.
    """
    features.mkdir(parents=True, exist_ok=True)
    for name, pairs in _sources(options):
        path = features / f"{name}.npz"
        if path.exists():
            continue
        digest = hashlib.sha256(f"{options.seed}\0{name}".encode()).digest()
        try:
            with ProcessPoolExecutor(1, _alone(), work_in_one_thread) as process:
                measured = process.submit(_measured, pairs, list(digest)).result()
        except BrokenProcessPool:
            yield name, None
            continue
        np.savez(path, **vars(measured))
        yield name, len(measured.values)


def _alone() -> BaseContext:
    """How a source's process starts: as a fork of one that has only loaded this module, if it may.

    A fork of this one could wait for ever for threads of its libraries, which it has not.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    alone = get_context("forkserver")
    alone.set_forkserver_preload([__name__])
    return alone


def _measured(pairs: Callable[[Rng], Iterator[RelatedPair]], seed: list[int]) -> Labelled:
    return measure_pairs(pairs(np.random.default_rng(seed)))


def read_collected(folder: Path) -> Labelled:
    """The measurements that `collect` has written; InputError where there are none."""
    files = [np.load(path) for path in sorted(folder.glob("*.npz"))]
    if not files:
        raise InputError(f"{folder} holds no features: run collect first")
    columns = [
        np.concatenate([one[name] for one in files]) for name in ("values", "relations", "sources")
    ]
    return Labelled(*columns)


def read_pictures(spec: str, most: int) -> list[Pixels]:
    """At most so many pictures of an input, those that are readable."""
    return _decoded(_drawn(spec, most), _PICTURE_PX)


def _sources(
    options: SourceOptions,
) -> Iterator[tuple[str, Callable[[Rng], Iterator[RelatedPair]]]]:
    """The name of each source, and the function that makes its pairs."""
    for look in range(options.designs):
        yield f"designs-{look}", partial(of_designs, looks=1, chromium=options.chromium)
    for look in range(options.edited_designs):
        yield f"edited_designs-{look}", partial(_of_edited_designs, options)
    for ten in range(options.small_designs):
        yield f"small_designs-{ten}", partial(of_small_designs, each=10)
    for path in options.frames:
        yield f"frames-{path.stem}", partial(_of_frames, path=path, count=3 * options.each)
    several: tuple[tuple[tuple[str, ...], Relation], ...] = (
        (options.pictures, "none"),
        (options.one_layout, "same_layout"),
    )
    for specs, relation in several:
        for spec in specs:
            files = _drawn(spec, options.most)
            for start in range(0, len(files), _TOGETHER):
                name = f"{Path(spec).stem}-{start // _TOGETHER}"
                some = files[start : start + _TOGETHER]
                yield name, partial(_of_pictures, some, relation, name, options.each)


def _of_edited_designs(options: SourceOptions, rng: Rng) -> Iterator[RelatedPair]:
    pictures = [one for spec in options.backgrounds for one in read_pictures(spec, options.most)]
    if not pictures:
        raise InputError("edited designs need backgrounds: pictures that are pasted with them")
    return of_edited_designs(rng, pictures, options.chromium)


def _of_frames(rng: Rng, path: Path, count: int) -> Iterator[RelatedPair]:
    frames = _photos(path) if path.is_dir() else _video(path, rng)
    if len(frames) < 3:
        raise InputError(f"{path} has {len(frames)} frames or photos; 3 are needed")
    return of_frames(rng, frames, path.stem, min(count, 2 * len(frames)))


def _of_pictures(
    files: list[File], relation: Relation, name: str, each: int, rng: Rng
) -> Iterator[RelatedPair]:
    """Copies, their nearest strangers, and look-alikes that are made of them."""
    pictures = _decoded(files, _PICTURE_PX)
    yield from copies_of(rng, pictures, pictures, name, 4 * each)
    yield from hard_copies_of(rng, pictures, name, 8 * each)
    yield from of_strangers(rng, pictures, _nearest(pictures, 4 * each), relation, name)
    if relation == "none":
        yield from of_look_alikes(rng, pictures, each)


def _nearest(pictures: list[Pixels], count: int) -> list[tuple[int, int]]:
    """The pairs of pictures that are most alike by descriptor, each picture with its nearest."""
    vectors = load_model().embed([limited(picture, 448) for picture in pictures])
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    nearest = similarity.argmax(axis=1)
    order = np.argsort(-similarity.max(axis=1), kind="stable")
    pairs = dict.fromkeys(tuple(sorted((int(i), int(nearest[i])))) for i in order)
    return [(first, second) for first, second in pairs][:count]


def _video(path: Path, rng: Rng) -> list[Pixels]:
    """Some frames of a video, in order, a few of them close together."""
    reader = cv2.VideoCapture(str(path))
    frames: list[Pixels] = []
    while len(frames) < _READ:
        there, frame = reader.read()
        if not there:
            break
        shown = np.ascontiguousarray(np.asarray(frame, np.uint8)[..., ::-1])
        frames.append(limited(shown, _FRAME_PX))
    starts = rng.integers(0, max(len(frames), 1), _FRAMES // 3)
    chosen = {min(int(s) + gap, len(frames) - 1) for s in starts for gap in (0, 5, 15)}
    return [frames[i] for i in sorted(chosen)] if frames else []


def _photos(folder: Path) -> list[Pixels]:
    """The photos of a scene in the order of their names, at most as many as are needed."""
    return _decoded(heapq.nsmallest(_MOST_PHOTOS, _images(str(folder))), _PHOTO_PX)


def _drawn(spec: str, most: int) -> list[File]:
    """At most so many pictures of an input, drawn by their names."""
    images = ((hashlib.sha256(name.encode()).hexdigest(), data) for name, data in _images(spec))
    return heapq.nsmallest(most, images)


def _images(spec: str) -> Iterator[File]:
    storage = LocalStorage()
    for piece in find_sources(storage, spec).pieces:
        for ref, data in read_source(storage, piece):
            if isinstance(data, bytes):
                yield ref.image_id, data


def _decoded(images: list[File], longest_px: int) -> list[Pixels]:
    """The pictures of those files that are readable, their longer side at most so long."""
    pictures = (_picture(data, longest_px) for _, data in images)
    return [picture for picture in pictures if picture is not None]


def _picture(data: bytes, longest_px: int) -> Pixels | None:
    try:
        return limited(decode(data, 2 * longest_px).pixels, longest_px)
    except ImageError:
        return None
