"""`copydetect train`: images in, a descriptor model and its card out."""

from __future__ import annotations

import dataclasses
from argparse import Namespace

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports
from copydetect.training.options import TrainingOptions

from ..arguments import INPUTS, TRUST_MODEL, CommandParser, run_command

_HELP = {
    "steps": "updates of the weights",
    "batch_size": "pictures a step",
    "image_px": "side of the squares that are trained on",
    "final_px": "their side in the last steps, and for the targets",
    "final_share": "how many of the steps are the last",
    "search_px": "side of the squares that the model is made for",
    "short_side_px": "the size that pictures are kept at meanwhile",
    "pages": "drawn pages that are added, as a share of the pictures",
    "dimension": "numbers in a vector; a teacher or a model to start from has its own",
    "frozen_stages": "stages of the trunk, from below, that stay as they are",
    "loss": "fixed targets (on a CPU) or InfoNCE over two views (where there is a GPU)",
    "target_power": "how far the targets are whitened, 0.5 is fully",
    "target_spread": "how far the targets move away from look-alikes",
    "threshold_weight": "of the term that asks for one threshold for all views",
    "renewals": "how often the targets are made anew by the student",
    "mixed": "share of images blended with another one",
    "look_alikes": "share of a batch that look like its others",
    "mix": "edits of the training views: mild, default, severe, framed, …",
    "held_out": "kinds of edits that are not trained on, but help to choose the best checkpoint",
    "validation_mix": "how many of them in a row, and how strong",
    "validation_images": "pictures held out, at most a fifth",
    "validate_every": "steps between reports and checkpoints",
    "workers": "processes that make the views",
    "device": "cpu, cuda, cuda:1 …",
}
_CHOICES = {"loss": ("targets", "infonce")}


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser(
        "train", "Train or fine-tune a descriptor. Interrupted, the same command goes on."
    )
    parser.add_argument("images", metavar="IMAGES", nargs="+", help=INPUTS)
    parser.add_argument(
        "-o", "--output", required=True, help="folder for the model, log and checkpoint"
    )
    parser.add_argument(
        "--init",
        default="bundled",
        help="bundled, imagenet, random, or the path of a .safetensors model",
    )
    parser.add_argument("--teacher", help="a TorchScript model whose vectors are to be learnt")
    parser.add_argument(
        "--trust_model",
        action="store_true",
        help=TRUST_MODEL,
    )
    parser.add_argument("--name", default="descriptor", help="of the model that is written")
    parser.add_argument("--notes", default="", help="for the model's card: data, licence")
    for field in dataclasses.fields(TrainingOptions):
        if isinstance(field.default, (int, float, str)):
            parser.add_argument(
                f"--{field.name}",
                type=type(field.default),
                choices=_CHOICES.get(field.name),
                help=f"{_HELP.get(field.name, '')} ({field.default})".strip(),
            )
    return run_command(parser, argv, _train)


def _train(arguments: Namespace, engine: EngineOptions) -> None:
    given = {
        field.name: getattr(arguments, field.name)
        for field in dataclasses.fields(TrainingOptions)
        if getattr(arguments, field.name, None) is not None
    }
    options = TrainingOptions(**given)

    with quiet_imports():
        from pathlib import Path

        from copydetect.storage.remote import BeamStorage
        from copydetect.training.fitting import DRAWING, LOG, Start, train
        from copydetect.training.pictures import pack_pictures

    output = Path(arguments.output)
    pictures = pack_pictures(
        BeamStorage(), arguments.images, output / "pictures", options.short_side_px, options.pages
    )
    print(
        f"{len(pictures)} pictures, drawn pages among them; {pictures.failed} could not be read, "
        f"{pictures.repeated} repeat another one"
    )
    teacher = Path(arguments.teacher) if arguments.teacher else None
    trusted = arguments.trust_model
    start = Start(arguments.init, teacher, arguments.name, arguments.notes, trust_model=trusted)
    model = train(pictures, options, output, start)
    print(f"{model} and {model.with_suffix('.json')}")
    print(f"log: {model.with_name(LOG)}, drawn: {model.with_name(DRAWING)}")
