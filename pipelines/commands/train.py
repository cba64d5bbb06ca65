"""`copydetect train`: images in, a descriptor model and its card out."""

from __future__ import annotations

import dataclasses
from argparse import Namespace

from copydetect.options import EngineOptions
from copydetect.quiet_imports import quiet_imports
from copydetect.training.options import TrainingOptions

from ..arguments import INPUTS, TRUST_MODEL, CommandParser, run_command

_HELP = {
    "steps": "number of weight updates",
    "batch_size": "pictures per step",
    "image_px": "side of the training images, px",
    "final_px": "side of the training images in the last steps, and for the targets, px",
    "final_share": "share of the steps that count as the last ones",
    "search_px": "side of the images that the finished model expects, px",
    "short_side_px": "shorter side of the pictures as they are stored for training, px",
    "pages": "drawn pages to add, as a share of the pictures",
    "dimension": "dimension of the vectors, unless an initial model sets it",
    "frozen_stages": "how many stages of the trunk, from the input on, are not trained",
    "anchor_weight": "with --compatible_with: weight of the loss term that keeps to old vectors",
    "target_power": "how strongly the targets are whitened; 0.5 is complete whitening",
    "target_spread": "how far the targets are moved away from look-alikes",
    "threshold_weight": "weight of the loss term that wants one threshold for all views",
    "renewals": "how often the student recomputes the targets",
    "mixed": "share of images that are blended with another one",
    "look_alikes": "share of a batch that are look-alikes of the rest",
    "mix": "edits of the training views: mild, default, severe, framed, …",
    "held_out": "kinds of edits left out of training, used to choose the best checkpoint",
    "validation_mix": "mix that sets how many edits in a row validation uses, and how strong",
    "validation_images": "pictures kept for validation, at most a fifth of all",
    "validate_every": "steps between two reports and checkpoints",
    "workers": "processes that make the training views",
    "width": "how wide the trunk is, compared with EfficientNet-Lite0",
    "temperature": "temperature of the softmax in the loss",
    "learning_rate": "highest learning rate",
    "weight_decay": "weight decay of AdamW, on matrices alone",
    "warmup_steps": "steps in which the learning rate rises",
    "average": "decay of the moving average of the weights, which is what is kept",
    "seed": "seed of the batches and the edits",
    "device": "cpu, cuda, cuda:1 …",
}


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    parser = CommandParser(
        "train",
        "Train or fine-tune a descriptor. After an interruption the same command continues.",
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
    parser.add_argument(
        "--compatible_with",
        default="",
        metavar="OLD",
        help="name or path of an older model: its vectors can be compared with those of the new "
        "one, so that a catalogue need not be described again at once",
    )
    parser.add_argument(
        "--trust_model",
        action="store_true",
        help=TRUST_MODEL,
    )
    parser.add_argument("--name", default="descriptor", help="name of the model that is written")
    parser.add_argument("--notes", default="", help="for the model's card: data, licence")
    for field in dataclasses.fields(TrainingOptions):
        if isinstance(field.default, (int, float, str)):
            parser.add_argument(
                f"--{field.name}",
                type=type(field.default),
                help=f"{_HELP[field.name]} ({field.default})",
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
        from copydetect.training.fitting import LOG, train
        from copydetect.training.pictures import pack_pictures
        from copydetect.training.start import Start

    output = Path(arguments.output)
    pictures = pack_pictures(
        BeamStorage(), arguments.images, output / "pictures", options.short_side_px, options.pages
    )
    print(
        f"{len(pictures)} pictures, drawn pages among them; {pictures.failed} could not be read, "
        f"{pictures.repeated} repeat another one"
    )
    start = Start(
        arguments.init,
        arguments.name,
        arguments.notes,
        arguments.compatible_with,
        arguments.trust_model,
    )
    model = train(pictures, options, output, start)
    print(f"{model} and {model.with_suffix('.json')}; log: {model.with_name(LOG)}")
