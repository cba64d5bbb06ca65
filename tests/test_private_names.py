"""The private names of other libraries that are used: a version without one must not be allowed.

`setup.py` bounds the versions of these libraries. Where this fails, lower the bound, or use what
the library offers by now.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile


def test_torch_tells_what_a_processor_multiplies_and_multiplies_bytes() -> None:
    assert isinstance(torch.cpu._is_vnni_supported(), bool)
    assert isinstance(torch.ops.mkldnn._is_mkldnn_bf16_supported(), bool)
    assert callable(torch.ops.mkldnn._convolution_pointwise)
    bytes_ = torch.ones((32, 32), dtype=torch.int8)
    assert torch._int_mm(bytes_, bytes_).dtype == torch.int32


def test_pillow_knows_the_tiles_of_a_tiff_before_it_is_loaded() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(stream, "TIFF")
    image = TiffImageFile(io.BytesIO(stream.getvalue()))
    assert image._tile_size == (16, 8)
    assert image._im is None


def test_scikit_learn_shows_the_trees_that_it_has_grown() -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    x = np.arange(40.0)[:, None]
    model = ensemble.HistGradientBoostingClassifier(max_iter=2, min_samples_leaf=2)
    model.fit(x, x[:, 0] > 20)
    assert len(model._predictors) == 2
    assert model._predictors[0][0].nodes.dtype.names is not None
    assert np.ndim(model._baseline_prediction) >= 0
