"""Loading models of every kind, and vectors that depend on nothing but their image."""

import json
import math
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save, save_file

from copydetect.description import torch_network
from copydetect.description.descriptors import BUNDLED_MODELS, load_model, preprocess
from copydetect.description.model_cards import ModelCard, NetworkConfig
from copydetect.description.onnx_network import OnnxNetwork, graph_path
from copydetect.description.trunks import build
from copydetect.errors import ModelError, OptionError
from copydetect.models import DEFAULT_MODEL


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    sizes = [(40, 60), (200, 90), (1, 1), (160, 160), (17, 300)]
    blocks = [rng.integers(0, 256, (6, 5, 3), np.uint8) for _ in sizes]
    return [
        np.asarray(Image.fromarray(b).resize((w, h)))
        for b, (h, w) in zip(blocks, sizes, strict=True)
    ]


@pytest.fixture(scope="module")
def bundled():
    return load_model()


class MeanColour(torch.nn.Module):
    """A stand-in for a foreign network: the mean of each channel, as a vector."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))


def saved_torchscript(path, card=None):
    torch.jit.script(MeanColour()).save(str(path))
    if card is not None:
        path.with_suffix(".json").write_text(json.dumps(card))
    return str(path)


def test_bundled_model_returns_unit_vectors(bundled, images):
    vectors = bundled.embed(images)
    assert vectors.shape == (len(images), bundled.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert bundled.embed([]).shape == (0, bundled.dimension)


@pytest.mark.parametrize("with_graph", [True, False])
def test_a_vector_does_not_depend_on_its_batch(tmp_path, images, with_graph):
    model = load_model(str(copied(tmp_path, ".onnx") if with_graph else copied(tmp_path)))
    together = model.embed(images * 4)  # 20 images: a full batch and a part of one
    assert len(together) > model.network.batch_size
    for number in range(len(images)):
        alone = model.embed([images[number]])[0]
        for repeat in range(4):
            np.testing.assert_array_equal(together[repeat * len(images) + number], alone)


def copied(folder, *suffixes):
    """The bundled model with some of its files, in a folder of its own."""
    for suffix in (".json", ".safetensors", *suffixes):
        shutil.copy(BUNDLED_MODELS / f"{DEFAULT_MODEL}{suffix}", folder)
    return folder / f"{DEFAULT_MODEL}.safetensors"


def test_both_libraries_compute_the_same_vectors(tmp_path, images, monkeypatch):
    monkeypatch.setattr(torch_network, "multiplies_bfloat16", lambda device: False)
    with_graph, without = load_model(), load_model(str(copied(tmp_path)))
    assert isinstance(with_graph.network, OnnxNetwork)
    assert isinstance(without.network, torch_network.TorchNetwork)
    assert with_graph.identity == without.identity
    np.testing.assert_allclose(with_graph.embed(images), without.embed(images), atol=2e-5)


def test_the_bundled_graph_is_the_one_that_its_network_has(tmp_path):
    pytest.importorskip("onnx")
    from copydetect.training.onnx_graph import write_graph
    from copydetect.training.student import load_weights

    path = copied(tmp_path)
    card = ModelCard.from_json(path.with_suffix(".json").read_text(), "card")
    network = build(card.network, card.dimension)
    load_weights(network, path)
    written = write_graph(network, card, path).read_bytes()
    assert abs(len(written) - len(graph_path(BUNDLED_MODELS / path.name).read_bytes())) < 20_000


def test_a_graph_of_another_network_is_refused(tmp_path):
    path = copied(tmp_path, ".onnx")
    path.write_bytes(save({"projection.weight": torch.zeros(8, 8)}))
    with pytest.raises(ModelError, match="does not fit"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("input_size_px", 128, "input_size_px 128"), ("mean", [0.5, 0.5, 0.5], r"mean \(0.5")],
)
def test_a_graph_for_other_pixels_than_the_card_says_is_refused(tmp_path, name, value, said):
    path = copied(tmp_path, ".onnx")
    card = path.with_suffix(".json")
    card.write_text(json.dumps({**json.loads(card.read_text()), name: value}))
    with pytest.raises(ModelError, match=said):
        load_model(str(path))


def test_a_processor_needs_no_torch():
    code = """
import sys
import numpy as np
from copydetect.description.descriptors import load_model
from copydetect.index.coarse import CoarseQuantiser
from copydetect.search.products import Products
load_model().embed([np.zeros((9, 9, 3), np.uint8)])
vectors = np.eye(8, dtype=np.float32)
assert CoarseQuantiser(vectors).nearest(vectors, 1)[:, 0].tolist() == list(range(8))
assert Products(vectors.astype(np.float16)).of(np.arange(8), vectors)[0].trace() == 8
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bfloat16_changes_vectors_little(tmp_path, images, monkeypatch):
    monkeypatch.setattr(torch_network, "multiplies_bfloat16", lambda device: True)
    exact, rounded = load_model().embed(images), load_model(str(copied(tmp_path))).embed(images)
    assert (exact * rounded).sum(axis=1).min() > 0.95  # the one-pixel image is the worst


def test_copies_are_nearer_than_strangers(bundled, images):
    flipped_bright = [np.clip(i.astype(int) * 1.1 + 5, 0, 255).astype(np.uint8) for i in images]
    similarities = bundled.embed(images) @ bundled.embed(flipped_bright).T
    assert (similarities.argmax(axis=1) == np.arange(len(images))).all()


def test_bundled_files_are_small_and_explained(bundled):
    files = [f for f in BUNDLED_MODELS.iterdir() if f.name.startswith(bundled.card.name)]
    assert sum(f.stat().st_size for f in files) < 20_000_000
    assert bundled.card.license
    assert bundled.background().shape[0] >= 1000
    np.testing.assert_allclose(np.linalg.norm(bundled.background(), axis=1), 1, atol=1e-3)


def test_torchscript_with_a_card(tmp_path):
    card = {
        "name": "mean",
        "input_size_px": 32,
        "dimension": 3,
        "mean": [0, 0, 0],
        "std": [1, 1, 1],
    }
    model = load_model(saved_torchscript(tmp_path / "mean.pt", card), trust_model=True)
    red = np.zeros((50, 20, 3), np.uint8)
    red[..., 0] = 200
    np.testing.assert_allclose(model.embed([red]), [[1, 0, 0]], atol=1e-6)
    assert model.identity.startswith("mean-")
    assert model.background().shape == (0, 3)


def test_short_edge_keeps_the_aspect_ratio(tmp_path):
    card = ModelCard("mean", 32, 3, resize="short_edge")
    assert preprocess(np.zeros((64, 128, 3), np.uint8), card).shape == (32, 64, 3)
    fields = {"name": "mean", "input_size_px": 32, "dimension": 3, "resize": "short_edge"}
    model = load_model(saved_torchscript(tmp_path / "mean.pt", fields), trust_model=True)
    shapes = [(30, 90), (64, 32)]
    assert model.embed([np.full((*s, 3), 9, np.uint8) for s in shapes]).shape == (2, 3)


def test_official_names_need_no_card(tmp_path):
    path = saved_torchscript(tmp_path / "sscd_disc_mixup.torchscript.pt")
    model = load_model(path, trust_model=True)
    assert (model.card.input_size_px, model.dimension) == (288, 512)
    with pytest.raises(ModelError, match="512"):  # the stand-in returns three numbers
        model.embed([np.zeros((8, 8, 3), np.uint8)])


@pytest.mark.parametrize("name", ["mean.pt", "sscd_disc_mixup.torchscript.pt"])
def test_a_program_is_refused_unless_it_is_trusted(name, tmp_path):
    path = saved_torchscript(tmp_path / name, {"name": "x", "input_size_px": 32, "dimension": 3})
    with pytest.raises(ModelError, match="--trust_model"):
        load_model(path)
    load_model(path, trust_model=True)


def test_identity_covers_what_the_card_decides(tmp_path):
    card = {"name": "mean", "input_size_px": 32, "dimension": 3}
    changes = [{}, {"input_size_px": 48}, {"mean": [0, 0, 0]}, {"std": [1, 1, 1]}]
    changes += [{"resize": "short_edge"}, {"notes": "for people"}]
    identities = []
    for change in changes:
        path = saved_torchscript(tmp_path / "mean.pt", card)
        (tmp_path / "mean.json").write_text(json.dumps(card | change))
        identities.append(load_model(path, trust_model=True).identity)
    assert len(set(identities)) == len(changes) - 1
    assert identities[0] == identities[-1]


def test_identity_follows_the_weights(tmp_path):
    identities = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        card = ModelCard("tiny", 32, 8, network=NetworkConfig(width=0.25, pooled_stages=(2,)))
        weights = build(card.network, 8).state_dict()
        path = tmp_path / f"tiny{seed}.safetensors"
        save_file({name: value.contiguous() for name, value in weights.items()}, str(path))
        path.with_suffix(".json").write_text(card.to_json())
        model = load_model(str(path))
        assert model.card == card
        identities.add(model.identity)
    assert len(identities) == 2


def test_a_file_that_is_no_model(tmp_path):
    card = '{"name": "x", "input_size_px": 32, "dimension": 3}'
    for name, content in [("a.pt", b"nothing"), ("b.pt", pickle.dumps({"w": 1}))]:
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).with_suffix(".json").write_text(card)
        with pytest.raises(ModelError, match=name):
            load_model(str(tmp_path / name), trust_model=True)
    with pytest.raises(ModelError, match="missing"):
        load_model(str(tmp_path / "missing.pt"))


def test_a_model_without_a_card_or_with_a_bad_one(tmp_path):
    path = saved_torchscript(tmp_path / "mean.pt")
    with pytest.raises(ModelError, match=r"mean\.json"):
        load_model(path)
    whole = {"name": "x", "input_size_px": 32, "dimension": 3}
    wrong = [{"input_size_px": 0}, {"dimension": 16.5}, {"mean": "red"}, {"std": [1, 1, math.nan]}]
    wrong += [{"network": 3}, {"network": {"width": "wide"}}, {"resize": None}, {"colour": "red"}]
    for card in (
        "{",
        "[]",
        '{"name": "x"}',
        "[" * 100_000,
        *(json.dumps(whole | w) for w in wrong),
    ):
        (tmp_path / "mean.json").write_text(card)
        with pytest.raises(ModelError):
            load_model(path)


def test_weights_of_another_form(tmp_path):
    card = ModelCard("tiny", 32, 8, network=NetworkConfig(width=0.25, pooled_stages=(2,)))
    path = tmp_path / "tiny.safetensors"
    save_file({"projection.weight": torch.zeros(8, 8)}, str(path))
    path.with_suffix(".json").write_text(card.to_json())
    with pytest.raises(ModelError, match="missing"):
        load_model(str(path))


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(OptionError, match=device):
        load_model(device=device)
