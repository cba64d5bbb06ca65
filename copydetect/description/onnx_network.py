"""A descriptor network in ONNX Runtime: on a processor it takes half of PyTorch's time.

Beside `NAME.safetensors` lies `NAME.onnx`, the network's graph without its weights: they are handed
over when it is opened (see `training.onnx_graph`, which writes it).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from safetensors.numpy import load as load_safetensors

from copydetect.description.model_cards import ModelCard
from copydetect.errors import ModelError, first_line
from copydetect.types import Floats

INPUT, OUTPUT = "pixels", "vectors"
PREFIX = "network."
"""What the names of the weights begin with in the graph."""


PIXELS = "pixels"
"""The graph's metadata that say what it does with pixels, as `pixels_of` its card."""


def pixels_of(card: ModelCard) -> str:
    """How a card wants its pixels, as text. A graph that was made for other pixels gives other
    vectors."""
    return f"input_size_px {card.input_size_px}, mean {card.mean}, std {card.std}"


def graph_path(model: Path) -> Path:
    """Where the graph of a model is, if it has one."""
    return model.with_suffix(".onnx")


class OnnxNetwork:
    """Computes one image after the other, in the calling thread: more together are no quicker."""

    batch_size = 1

    def __init__(self, model: Path, content: bytes, card: ModelCard) -> None:
        """model: path of the weights, content: their bytes. ModelError where the graph does not fit
        these or was made for pixels other than its card says."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            weights = load_safetensors(content)
            names = [name for name in weights if not name.endswith("num_batches_tracked")]
            values = [
                onnxruntime.OrtValue.ortvalue_from_numpy(weights[name].astype(np.float32))
                for name in names
            ]
            options.add_external_initializers([PREFIX + name for name in names], values)
            self._session = onnxruntime.InferenceSession(
                str(graph_path(model)), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # safetensors and ONNX Runtime raise types of their own
            raise ModelError(
                f"{graph_path(model)} does not fit {model}: {first_line(error)}"
            ) from error
        made_for = self._session.get_modelmeta().custom_metadata_map.get(PIXELS, "other pixels")
        if made_for != pixels_of(card):
            raise ModelError(
                f"{graph_path(model)} is made for {made_for}, but the card beside it says "
                f"{pixels_of(card)}: mend the card, or remove the graph"
            )

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """Unit vectors (n, d) of images (n, h, w, 3) of the card's size."""
        (found,) = self._session.run([OUTPUT], {INPUT: pixels})
        return np.asarray(found, np.float32)
