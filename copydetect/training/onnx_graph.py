"""A descriptor network → its graph for ONNX Runtime, without its weights.

`copydetect train` writes NAME.onnx beside NAME.safetensors. The graph holds no weights:
`description.onnx_network` reads them from NAME.safetensors and hands them over.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from copydetect.description.model_cards import ModelCard
from copydetect.description.onnx_network import (
    INPUT,
    OUTPUT,
    PIXELS,
    PREFIX,
    graph_path,
    pixels_of,
)
from copydetect.description.trunks import ConvNormAct, DescriptorModel, same_padding

_OPERATORS = 17
"""The version of ONNX's set of operators."""


class _FromPixels(nn.Module):
    """The network on pixels (n, h, w, 3) uint8."""

    def __init__(self, network: DescriptorModel, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.mean = torch.tensor(card.mean).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(card.std).view(1, 3, 1, 1) * 255

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.network((pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std)
        return found


def write_graph(network: DescriptorModel, card: ModelCard, model: Path) -> Path:
    """Write the graph of a network whose batch norms are not folded; beside its model file."""
    pixels = torch.zeros(1, card.input_size_px, card.input_size_px, 3, dtype=torch.uint8)
    whole = _FromPixels(network.eval(), card)
    path = graph_path(model)
    paddings: list[list[int]] = []
    with warnings.catch_warnings(), _recorded(network, paddings):
        # It is traced, for pixels of one size; the newer exporter needs further packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            whole,
            (pixels,),
            path,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=_OPERATORS,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    exported = onnx.load(path)
    _pad_in_convolutions(exported.graph, paddings)
    for weight in exported.graph.initializer:
        if weight.name.startswith(PREFIX):
            weight.ClearField("raw_data")
            weight.data_location = onnx.TensorProto.EXTERNAL
            weight.external_data.add(key="location", value=model.name)
    exported.metadata_props.add(key=PIXELS, value=pixels_of(card))
    path.write_bytes(exported.SerializeToString())
    return path


@contextmanager
def _recorded(network: DescriptorModel, paddings: list[list[int]]) -> Iterator[None]:
    """Record the uneven paddings of strided convolutions, in the order in which they are used."""

    def record(layer: ConvNormAct, inputs: tuple[Tensor]) -> None:
        paddings.append(same_padding(inputs[0], layer.kernel, layer.stride))

    strided = [m for m in network.modules() if isinstance(m, ConvNormAct) and m.stride > 1]
    handles = [layer.register_forward_pre_hook(record) for layer in strided]
    yield
    for handle in handles:
        handle.remove()


def _pad_in_convolutions(graph: onnx.GraphProto, paddings: list[list[int]]) -> None:
    """Let convolutions do the padding: a separate one costs a pass over the data and another
    layout."""
    pads = [node for node in graph.node if node.op_type == "Pad"]
    for pad, (left, right, top, bottom) in zip(pads, paddings, strict=True):
        (convolution,) = [node for node in graph.node if pad.output[0] in node.input]
        convolution.input[0] = pad.input[0]
        (attribute,) = [one for one in convolution.attribute if one.name == "pads"]
        attribute.ints[:] = [top, left, bottom, right]
        graph.node.remove(pad)
