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

from copydetect.errors import ModelError

INPUT, OUTPUT = "pixels", "vectors"
PREFIX = "network."
"""What the names of the weights begin with in the graph."""


def graph_path(model: Path) -> Path:
    """Where the graph of a model is, if it has one."""
    return model.with_suffix(".onnx")


class OnnxNetwork:
    """Computes one image after the other, in the calling thread: more together are no quicker."""

    batch_size = 1

    def __init__(self, model: Path, content: bytes, size_px: int) -> None:
        """model: path of the weights, content: their bytes, size_px: side of the images that its
        card says. ModelError where the graph does not fit."""
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
            reason = str(error).strip().splitlines()[0]
            raise ModelError(f"{graph_path(model)} does not fit {model}: {reason}") from error
        shape = self._session.get_inputs()[0].shape
        if any(isinstance(side, int) and side != size_px for side in shape[1:3]):
            raise ModelError(
                f"{graph_path(model)} takes pixels of {shape}, but the card beside it says "
                f"input_size_px {size_px}: mend the card, or remove the graph"
            )

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Unit vectors (n, d) of images (n, h, w, 3) of the card's size."""
        (found,) = self._session.run([OUTPUT], {INPUT: pixels})
        return np.asarray(found, np.float32)
