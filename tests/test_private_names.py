"""The private names of other libraries that are used: a version without one must not be allowed.

`setup.py` bounds the versions of these libraries. Where this fails, lower the bound, or use what
the library offers by now.
"""

from __future__ import annotations

import argparse
import io

import apache_beam as beam
import numpy as np
import pytest
import torch
from apache_beam.transforms.ptransform import _NamedPTransform
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


def test_argparse_tells_its_options_and_reads_their_values() -> None:
    parser = argparse.ArgumentParser()
    several = parser.add_argument("--name", action="append")
    number = parser.add_argument("--number", type=int)
    assert isinstance(several, argparse._AppendAction)
    assert {several, number} <= set(parser._actions)
    assert parser._option_string_actions["--number"] is number
    assert parser._get_value(number, "3") == 3
    parser._check_value(number, 3)


def test_beam_knows_a_transform_by_its_name_and_itself() -> None:
    step = beam.GroupByKey()
    named = "group" >> step
    assert isinstance(named, _NamedPTransform)
    assert named.transform is step


def test_beam_keeps_whether_it_has_looked_for_credentials_of_google() -> None:
    auth = pytest.importorskip("apache_beam.internal.gcp.auth")
    assert isinstance(auth._Credentials._credentials_init, bool)


def test_beam_keeps_the_options_of_google_storage() -> None:
    gcs = pytest.importorskip("apache_beam.io.gcp.gcsfilesystem")
    options = object()
    assert gcs.GCSFileSystem(options)._pipeline_options is options
