"""Seeded edits of an image: the augmentations, with the geometry that they apply.

An edit is a value with all its parameters; called with pixels it gives the edited pixels, the
homography from the original to them and the region that the original fills:

    rng = rng_of(seed=1, image_id="beach.jpg")
    edits = sample_edits(rng, mix_named("default"))
    edited = apply(edits, pixels, others)
    edited.pixels, edited.transform, edited.region, edited.mask()
"""

from copydetect.edits.edit import Edit, Edited, Others, unedited
from copydetect.edits.mixes import (
    KINDS,
    MIXES,
    EditMix,
    apply,
    make_copy,
    mix_named,
    rng_of,
    sample_edits,
)

__all__ = [
    "KINDS",
    "MIXES",
    "Edit",
    "EditMix",
    "Edited",
    "Others",
    "apply",
    "make_copy",
    "mix_named",
    "rng_of",
    "sample_edits",
    "unedited",
]
