"""Signs that a file is the original of its group → one score, with reasons in words.

Each sign is one number per file; the score is their weighted sum. Each file of a group is the
original with the probability softmax(scores). So the weights are those of a conditional logit
(McFadden 1974). They were fitted on groups whose original is known: photos with the data of cameras
and without, and copies as messengers, editors, sites, screenshots and `copydetect edits` make them.
Several were then moved by hand, where those groups are not like real ones: no fitted file had a
thumbnail, and originals there were sharper than cameras make them, so that `enlarged` counts less.
`detail` and `coarseness` weigh nothing beside the rest; they tell what may go. `central` and
`unedited` were added to the others as they were, for two edits of a picture differ by both edits,
each from it by one; with them `enlarged`, `source` and `made` were chosen by hand, near the best
likelihood of 627 groups: of 416 whose original counts as known it is another one in 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from copydetect.grouping.file_history import FileHistory
from copydetect.grouping.pairs import Integers, VerifiedPairs

Floats = npt.NDArray[np.float64]

CERTAIN = 0.95
"""From this probability on the original counts as known."""

_MADE_NAME = re.compile(
    r"\(\d+\)|copy|kopie|copie|copia|edit|bearbeitet|modif|whatsapp|-wa\d|fb_img|received_|"
    r"screen.?shot|bildschirmfoto|thumb|small|resiz|crop|meme|_v\d|preview|low.?res|collage|"
    r"snapseed|picsart|^photo_20|-\d{2,4}x\d{2,4}$|@\dx$|~\d+$",
    re.IGNORECASE,
)
_CAMERA_NAME = re.compile(
    r"^(img|dsc|dscn|dscf|pxl|_mg|mvi|sam|gopr|dji|cimg|imag|hpim|p\d)[_-]?\d{4,}|^\d{8}_\d{6}",
    re.IGNORECASE,
)
_MADE_FOLDER = re.compile(
    r"download|whatsapp|telegram|instagram|facebook|messenger|screen.?shot|edited|edits|thumb|"
    r"cache|export|resized|memes|te?mp\b|sent|received|copies|web\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Sign:
    """One sign of originality.

    weight: of the score, in log-odds; kept: the reason where the sign speaks for the kept image;
    other: the reason where it speaks against another one.
    """

    name: str
    weight: float
    kept: str
    other: str


SIGNS = (
    Sign("camera", 2.8, "it has its camera's data", ""),
    Sign("taken", 0.8, "it says when it was taken", ""),
    Sign("located", 0.4, "it says where it was taken", ""),
    Sign("editor", -1.6, "", "saved by an editor"),
    Sign("changed", -0.9, "", "saved again after it was taken"),
    Sign("resized", -0.7, "", "says that it had another size"),
    Sign("retouched", -2.0, "", "its thumbnail shows another picture"),
    Sign("detail", 0.0, "it shows most detail", ""),
    Sign("enlarged", -1.0, "", "enlarged or blurred"),
    Sign("coarseness", 0.0, "", "compressed more"),
    Sign("earlier", -0.8, "", "compressed before"),
    Sign("shifted", -0.4, "", "cut out or mirrored"),
    Sign("padded", -2.0, "", "padded with zeros"),
    Sign("made_name", -3.5, "", "named as a copy"),
    Sign("camera_name", 1.2, "it is named as by a camera", ""),
    Sign("made_folder", -0.4, "", "in a folder of copies"),
    Sign("source", 3.0, "others were made from it", ""),
    Sign("made", -4.0, "", "made from another one"),
    Sign("central", 16.0, "it is the most like all others", ""),
    Sign("unedited", 2.0, "fewest edits lie between it and the others", ""),
)


@dataclass(frozen=True)
class Originality:
    """signs: (files, signs) numbers; scores: (files,) log-odds up to a constant of each group;
    best: (files,) that of the best file with the same bytes."""

    signs: Floats
    scores: Floats
    best: Floats

    @classmethod
    def of(
        cls, images: pa.Table, originals: Integers, histories: pa.Table, pairs: VerifiedPairs
    ) -> Originality:
        """images: the `images` table; originals: (files,) row of the file whose bytes each has;
        histories: the `histories` table; pairs: of these rows."""
        directions = pairs.directions(len(images))[originals]
        signs = np.column_stack(
            [
                _of_files(images, originals, histories),
                _of_names(images["image_id"].to_pylist()),
                directions / (directions.sum(axis=1, keepdims=True) + 0.5),
                pairs.closeness(len(images))[originals],
                -pairs.edits_away(len(images))[originals],
            ]
        )
        number = _NUMBERS["earlier"]
        signs[:, number] = _among_equal_sizes(signs[:, number], images, originals, pairs)
        weights = np.array([sign.weight for sign in SIGNS])
        scores = np.asarray(signs @ weights, np.float64)
        best = np.full(len(scores), -np.inf)
        np.maximum.at(best, originals, scores)
        return cls(signs, scores, best[originals])

    def sign(self, name: str) -> Floats:
        """(files,) one of the signs."""
        return np.asarray(self.signs[:, _NUMBERS[name]], np.float64)

    @property
    def metadata(self) -> Floats:
        """(files,) how much each says of how it was taken."""
        return np.asarray(self.signs[:, :3].sum(axis=1), np.float64)

    def chance(self, file: int, group: Sequence[int]) -> float:
        """0…1: that a file is the original, or one of its repeats, of a group of files.

        group: one file of each content.
        """
        scores = self.scores[list(group)]
        return float(np.exp(self.scores[file] - np.logaddexp.reduce(scores)))

    def why(self, file: int, others: Sequence[int], most: int = 2) -> list[str]:
        """What speaks most for a file against the best of others, in words; [] where nothing."""
        if not others:
            return []
        rival = max(others, key=lambda other: (self.scores[other], -other))
        weights = np.array([sign.weight for sign in SIGNS])
        gains = weights * (self.signs[file] - self.signs[rival])
        found = []
        for number in np.argsort(-gains, kind="stable")[:most].tolist():
            sign = SIGNS[number]
            if gains[number] > _TELLING:
                found.append(sign.kept or f"the other is {sign.other}")
        return found


_NUMBERS = {sign.name: number for number, sign in enumerate(SIGNS)}
_FAR_ENLARGED = 1.2
"""Octaves: a soft photo can be reduced as far as that without loss, and the blocks of a coarse copy
of it count as detail."""
_TELLING = 0.25
"""Log-odds from which a sign is mentioned."""


def _of_files(images: pa.Table, originals: Integers, histories: pa.Table) -> Floats:
    """(files, 13) the signs that the histories of the files tell; zeros where there is none."""
    found = np.zeros((len(images), 13))
    if not len(histories):
        return found
    ids = images["image_id"].combine_chunks()
    rows = pc.index_in(ids.take(pa.array(originals)), value_set=histories["image_id"])
    known = np.flatnonzero(pc.is_valid(rows).to_numpy(zero_copy_only=False))
    table = histories.take(pc.drop_null(rows))
    found[known] = np.array([signs_of(FileHistory(**row)) for row in table.to_pylist()])
    return found


def _among_equal_sizes(
    earlier: Floats, images: pa.Table, originals: Integers, pairs: VerifiedPairs
) -> Floats:
    """(files,) the sign, the largest of a component for files whose size no other content has.

    A picture that was resized has lost the comb of its JPEG. So a file that still has one is not
    younger than pictures of other sizes.
    """
    component = pairs.components_of(len(images))[originals]
    sides = np.sort([pc.fill_null(images[side], 0).to_numpy() for side in ("width", "height")], 0)
    _, kinds = np.unique(np.column_stack([component, *sides]), axis=0, return_inverse=True)
    kinds = kinds.reshape(-1)
    counts = np.bincount(kinds[originals == np.arange(len(originals))], minlength=len(kinds))
    largest = np.zeros(len(images))
    np.maximum.at(largest, component, earlier)
    return np.where(counts[kinds] > 1, earlier, largest[component])


def signs_of(history: FileHistory) -> list[float]:
    """The first 13 of `SIGNS`."""
    enlarged = float(np.log2(max(history.detail_factor, 1.0)))
    return [
        float(bool(history.camera)),
        float(history.taken),
        float(history.located),
        float(bool(history.editor)),
        float(history.changed),
        float(history.resized),
        float(history.retouched),
        float(np.log2(max(history.megapixels, 1e-6))) - 2 * enlarged,
        min(enlarged, _FAR_ENLARGED),
        history.coarseness,
        history.earlier,
        float(history.shifted),
        float(history.padding_bytes > 0),
    ]


def _of_names(image_ids: Sequence[str]) -> Floats:
    """(files, 3) what names and folders say."""
    found = []
    for image_id in image_ids:
        folder, _, name = image_id.rpartition("/")
        stem = name.rsplit(".", 1)[0]
        patterns = ((_MADE_NAME, stem), (_CAMERA_NAME, stem), (_MADE_FOLDER, folder))
        found.append([float(bool(pattern.search(text))) for pattern, text in patterns])
    return np.array(found).reshape(-1, 3)
