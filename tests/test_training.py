"""Training: batches that repeat, resuming exactly, bad input."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from copydetect.description.descriptors import load_model
from copydetect.description.normalization import unit_rows
from copydetect.description.trunks import ConvNormAct, DescriptorModel, Trunk
from copydetect.edits import mix_named
from copydetect.errors import InputError, ModelError, OptionError
from copydetect.pipelines.commands import train as command
from copydetect.storage.files import LocalStorage
from copydetect.training import fitting, history
from copydetect.training.fitting import CHECKPOINT, LOG, train
from copydetect.training.options import TrainingOptions
from copydetect.training.pages import draw_layout, draw_page, drawn_pages
from copydetect.training.pictures import Pictures, pack_pictures
from copydetect.training.start import Start
from copydetect.training.student import FrozenNorm, Student, turn_projection
from copydetect.training.validation import best_whitening, figures
from copydetect.training.views import ViewBatches, split
from copydetect.types import Pixels

TINY = TrainingOptions(
    steps=6,
    batch_size=8,
    image_px=32,
    final_px=32,
    search_px=32,
    short_side_px=48,
    dimension=8,
    pooled_stages=(1, 2),
    width=0.25,
    frozen_stages=1,
    renewals=1,
    warmup_steps=0,
    learning_rate=3e-3,
    validation_images=8,
    validate_every=3,
    workers=0,
)
TINY_FLAGS = [
    f"--{name}={getattr(TINY, name)}"
    for name in ("steps", "batch_size", "image_px", "final_px", "search_px", "dimension", "workers")
]


def picture(number: int) -> Pixels:
    """Large patches of colour, different for each number."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (60, 50), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images")
    for number in range(48):
        cv2.imwrite(str(path / f"{number:02d}.png"), picture(number))
    cv2.imwrite(str(path / "again.png"), picture(0))
    (path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return path


@pytest.fixture(scope="module")
def pictures(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    packed = tmp_path_factory.mktemp("packed")
    return pack_pictures(LocalStorage(), [str(folder)], packed, TINY.short_side_px)


def quiet(message: str) -> None:
    del message


def interrupted_at(step: int) -> Callable[[str], None]:
    """Ends a run once it has told of this step, and kept all that it needs to go on."""

    def tell(message: str) -> None:
        if message.startswith(f"step {step}:"):
            raise KeyboardInterrupt

    return tell


def begun(
    pictures: Pictures, options: TrainingOptions, folder: Path, start: Start, step: int
) -> None:
    """Train up to a step only."""
    with pytest.raises(KeyboardInterrupt):
        train(pictures, options, folder, start, interrupted_at(step))


def test_pictures_are_packed_once_counted_and_mapped(folder: Path, tmp_path: Path) -> None:
    first = pack_pictures(LocalStorage(), [str(folder)], tmp_path, 40)
    assert (len(first), first.failed, first.repeated) == (48, 1, 1)
    assert first[3].shape == (40, 48, 3)
    written = (tmp_path / "pictures.u8").stat().st_mtime_ns
    again = pack_pictures(LocalStorage(), [str(folder)], tmp_path, 40)
    assert (tmp_path / "pictures.u8").stat().st_mtime_ns == written
    np.testing.assert_array_equal(first[47], again[47])
    smaller = pack_pictures(LocalStorage(), [str(folder)], tmp_path, 20)
    assert smaller[3].shape == (20, 24, 3)


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture(1))
    with pytest.raises(InputError, match=r"1 different images.*2 repeat"):
        pack_pictures(LocalStorage(), [str(tmp_path)], tmp_path / "packed", 40)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"mix": "gentle"}, {"mixed": 1.0}, {"temperature": 0.0}],
)
def test_options_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        dataclasses.replace(TINY, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 2, 9), (5, 2, 8), (3, 1, 7)])
def test_frozen_norm_is_the_layer_in_eval_mode(kernel: int, stride: int, size: int) -> None:
    torch.manual_seed(0)
    layer = ConvNormAct(4, 6, kernel, stride).eval()
    assert isinstance(layer.norm, nn.BatchNorm2d)
    for value in layer.norm.parameters():
        nn.init.uniform_(value, 0.5, 1.5)
    nn.init.uniform_(layer.norm.running_mean, -1, 1)  # type: ignore[arg-type]
    nn.init.uniform_(layer.norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    images = torch.randn(2, 4, size, size + 1)
    torch.testing.assert_close(FrozenNorm(layer)(images), layer(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen", [0, 2])
def test_the_student_is_the_network_that_it_becomes(frozen: int) -> None:
    torch.manual_seed(0)
    model = DescriptorModel(Trunk(0.25, last_stage=3), 8, 3.0, (1, 3)).eval()
    images = torch.randn(3, 3, 32, 32)
    expected = model(images)
    student = Student(model, frozen, fast=False).eval()
    torch.testing.assert_close(student(images), expected, atol=1e-5, rtol=1e-4)
    student(images).sum().backward()
    lower = student.model.trunk.stem.conv.weight  # type: ignore[union-attr]
    assert (lower.grad is None) == (frozen > 0)  # type: ignore[union-attr]


def test_the_fast_student_is_nearly_the_same() -> None:
    torch.manual_seed(0)
    model = DescriptorModel(Trunk(0.25, last_stage=3), 8, 3.0, (1, 3)).eval()
    images = torch.randn(3, 3, 32, 32)
    expected = model(images).detach()
    student = Student(model, 1, fast=True).eval()
    vectors = student(images)
    assert float((vectors * expected).sum(dim=1).min()) > 0.99
    vectors.sum().backward()
    assert all(p.grad is not None and p.dtype == torch.float32 for p in student.trainable())


def test_pages_of_a_layout_differ_in_their_contents_alone() -> None:
    rng = np.random.default_rng(3)
    for _ in range(12):
        layout = draw_layout(rng)
        one, other = (draw_page(layout, [picture(1), picture(2)], rng) for _ in range(2))
        assert one.shape == other.shape == (layout.height, layout.width, 3)
        assert (one != other).any()
        np.testing.assert_array_equal(one[-2:, :2], other[-2:, :2])
    first, again = (list(drawn_pages(5, [picture(1)], np.random.default_rng(1))) for _ in range(2))
    assert len(first) == 5
    for page, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(page, same)


def test_pages_are_packed_after_the_pictures(folder: Path, tmp_path: Path) -> None:
    plain = pack_pictures(LocalStorage(), [str(folder)], tmp_path / "plain", 40)
    packed = pack_pictures(LocalStorage(), [str(folder)], tmp_path / "pages", 40, pages=0.25)
    assert len(packed) == 48 + 12
    np.testing.assert_array_equal(plain[47], packed[47])
    assert min(packed[59].shape[:2]) > 150


def batches(pictures: Pictures, look_alikes: float) -> ViewBatches:
    numbers = np.arange(20)
    neighbours = (numbers[:, None] + [1, 2]) % 20
    mixes = [mix_named("default"), mix_named("mild")]
    return ViewBatches(
        pictures, numbers, neighbours, mixes, (32, 40), 50, 5, look_alikes, 100, seed=1
    )


def test_every_picture_comes_up_once_an_epoch(pictures: Pictures) -> None:
    made = batches(pictures, look_alikes=0.0)
    for epoch in range(2):
        seen = np.concatenate([made.chosen(step) for step in range(4 * epoch, 4 * epoch + 4)])
        assert sorted(seen) == list(range(20))


def test_batches_hold_look_alikes_and_repeat_exactly(pictures: Pictures) -> None:
    made = batches(pictures, look_alikes=0.4)
    chosen = made.chosen(7)
    assert len(set(chosen)) == len(chosen)
    fresh = set(chosen[:3])
    assert all({(c - 1) % 20, (c - 2) % 20} & fresh for c in chosen[3:])
    for one, other in zip(made[7], batches(pictures, 0.4)[7], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_split_is_disjoint_and_holds_out_at_most_a_fifth() -> None:
    numbers, held_out = split(100, 1500, seed=0)
    assert len(held_out) == 20
    assert sorted([*numbers, *held_out]) == list(range(100))


def test_figures_of_a_perfect_and_a_useless_search() -> None:
    perfect = figures(np.eye(40, dtype=np.float32))
    assert (perfect.recall_at_1, perfect.micro_ap) == (1.0, 1.0)
    assert perfect.normalized_micro_ap == pytest.approx(1.0)
    useless = figures(1 - np.eye(40, dtype=np.float32))
    assert (useless.recall_at_1, useless.micro_ap) == (0.0, 0.0)


def test_training_learns(pictures: Pictures, tmp_path: Path) -> None:
    options = dataclasses.replace(TINY, steps=40, validate_every=10, renewals=0, mix="mild")
    model = train(pictures, options, tmp_path, Start(init="random"), quiet)
    losses = [report.loss for report in history.read(tmp_path / LOG, 40)]
    assert losses[-1] < losses[1] - 0.1
    embedder = load_model(str(model))
    vectors = embedder.embed([picture(0), picture(1)])
    assert vectors.shape == (2, 8)
    assert len(embedder.background()) == 40


def test_an_interrupted_run_goes_on_exactly(pictures: Pictures, tmp_path: Path) -> None:
    whole = train(pictures, TINY, tmp_path / "whole", Start(init="random"), quiet)
    begun(pictures, TINY, tmp_path / "parts", Start(init="random"), 3)
    parts = train(pictures, TINY, tmp_path / "parts", Start(init="random"), quiet)
    assert whole.read_bytes() == parts.read_bytes()
    one, other = (history.read(tmp_path / name / LOG, 99) for name in ("whole", "parts"))
    assert [r.loss for r in one] == [r.loss for r in other]


def test_a_continued_run_has_its_targets(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of many pictures take many minutes to make."""
    begun(pictures, TINY, tmp_path, Start(init="random"), 0)

    def again(*_: object) -> None:
        raise AssertionError("targets are made again")

    monkeypatch.setattr(fitting, "model_and_targets", again)
    begun(pictures, TINY, tmp_path, Start(init="random"), 3)


def test_a_checkpoint_must_fit(pictures: Pictures, tmp_path: Path) -> None:
    begun(pictures, TINY, tmp_path, Start(init="random"), 0)
    other = dataclasses.replace(TINY, width=0.5)
    with pytest.raises(ModelError, match="another architecture"):
        train(pictures, other, tmp_path, Start(init="random"), quiet)
    slower = dataclasses.replace(TINY, learning_rate=1e-3)
    with pytest.raises(OptionError, match="learning_rate"):
        train(pictures, slower, tmp_path, Start(init="random"), quiet)
    (tmp_path / CHECKPOINT).write_bytes(pickle.dumps(Path))
    with pytest.raises(ModelError):
        train(pictures, TINY, tmp_path, Start(init="random"), quiet)


def test_a_diverging_loss_ends_the_run(
    pictures: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(vectors: torch.Tensor, *_: object) -> torch.Tensor:
        return vectors.sum() * float("nan")

    monkeypatch.setattr(fitting, "target_softmax", nothing)
    options = dataclasses.replace(TINY, steps=40, validate_every=40)
    with pytest.raises(ModelError, match="lower the learning rate"):
        train(pictures, options, tmp_path, Start(init="random"), quiet)


def test_the_command_fine_tunes_the_bundled_model(folder: Path, tmp_path: Path) -> None:
    flags = [*TINY_FLAGS, "--steps=2", "--validate_every=2", "--validation_images=4"]
    code = command.main([str(folder), "--output", str(tmp_path), "--name", "mine", *flags])
    assert code == 0
    card = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    assert card["dimension"] == load_model().dimension
    assert card["network"]["attends"]
    model = load_model(str(tmp_path / "mine.safetensors"))
    assert model.embed([picture(3)]).shape == (1, card["dimension"])


def test_the_command_explains_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(tmp_path / "nowhere"), "--output", str(tmp_path / "out")]) == 2
    assert command.main([str(folder), "--output", str(tmp_path), "--steps", "0"]) == 2
    missing = ["--init", str(tmp_path / "no.safetensors"), *TINY_FLAGS]
    assert command.main([str(folder), "--output", str(tmp_path), *missing]) == 2
    assert command.main([str(folder)]) == 2
    assert "copydetect: no model to start from" in capsys.readouterr().err


def test_held_out_kinds_are_not_trained_on_and_judge() -> None:
    options = dataclasses.replace(TINY, mix="default,mild", held_out="skew, tint")
    for mix in options.training_mixes:
        assert mix.weights["skew"] == mix.weights["tint"] == 0
        assert mix.weights["crop"] > 0
    assert set(options.judging_mix.weights) == {"skew", "tint"}
    everything = dataclasses.replace(TINY, held_out="", validation_mix="severe")
    assert everything.judging_mix == mix_named("severe")
    with pytest.raises(OptionError, match="no such kind of edit: smudge"):
        dataclasses.replace(TINY, held_out="smudge")
    with pytest.raises(OptionError, match="names no mix"):
        dataclasses.replace(TINY, mix=" ")


def test_views_grow_in_the_last_steps(pictures: Pictures) -> None:
    made = batches(pictures, look_alikes=0.0)
    assert made[49][0].shape[1:] == (32, 32, 3)
    assert made[50][0].shape[1:] == (40, 40, 3)
    assert dataclasses.replace(TINY, steps=10, final_share=0.3).last_small_step == 7


def test_turning_the_projection_turns_the_vectors() -> None:
    torch.manual_seed(0)
    model = DescriptorModel(Trunk(0.25, last_stage=2), 8, 3.0, (1, 2)).eval()
    images, matrix, offset = torch.randn(3, 3, 32, 32), torch.randn(8, 8), torch.randn(8)
    expected = model.projection(model.pooled(images)) @ matrix - offset
    turn_projection(model, matrix, offset)
    torch.testing.assert_close(model.projection(model.pooled(images)), expected)


def test_the_whitening_that_finds_most_is_kept() -> None:
    rng = np.random.default_rng(0)
    # one direction that says nothing drowns the others
    scale = np.array([6.0] + [1.0] * 15)
    clean = (rng.normal(size=(200, 16)) * scale).astype(np.float32)
    copies = clean + (rng.normal(size=(200, 16)) * 1.5 * scale).astype(np.float32)
    vectors = tuple(unit_rows(values) for values in (clean, copies, copies))
    chosen = best_whitening(vectors, vectors[0])
    assert chosen.power > 0
    plain = best_whitening(vectors, vectors[0], (0.0,))
    np.testing.assert_array_equal(plain.matrix, np.eye(16, dtype=np.float32))
    assert chosen.validation.normalized_micro_ap > plain.validation.normalized_micro_ap
    assert best_whitening(vectors, vectors[0][:20]).power == 0
