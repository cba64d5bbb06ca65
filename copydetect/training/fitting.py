"""The training run: pictures in, a model and its card out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from copydetect.description.descriptors import Embedder
from copydetect.description.model_cards import ModelCard
from copydetect.description.normalization import unit_rows
from copydetect.description.trunks import DescriptorModel, build
from copydetect.errors import ModelError
from copydetect.training import checkpoints, history
from copydetect.training.checkpoints import Checkpoint, Weights
from copydetect.training.history import Report
from copydetect.training.losses import (
    Labels,
    mix_images,
    target_softmax,
    threshold_term,
)
from copydetect.training.options import TrainingOptions
from copydetect.training.pictures import Pictures
from copydetect.training.start import Start, anchors_of, model_and_targets, model_of
from copydetect.training.student import (
    Student,
    for_inference,
    network_of,
    normalised,
    save_model,
    turn_projection,
)
from copydetect.training.targets import (
    clean_targets,
    embed_views,
    nearest_targets,
    spread_targets,
)
from copydetect.training.validation import (
    POWERS,
    ValidationSet,
    best_whitening,
    found_among,
    together,
    validation_set,
)
from copydetect.training.views import Numbers, ViewBatches, split, square
from copydetect.types import Floats
from copydetect.workers.devices import checked_device, multiplies_bfloat16

CHECKPOINT, LOG = "checkpoint.pt", "training.jsonl"
_BACKGROUND_PICTURES, _HELD_VIEWS = 10_000, 1000
_GRADIENT_NORM = 5.0
_ALLOWED_SKIPS = 0.05


def train(
    pictures: Pictures,
    options: TrainingOptions,
    folder: Path,
    start: Start | None = None,
    tell: Callable[[str], None] = print,
) -> Path:
    """Train, or go on where `folder` has a checkpoint; returns the path of the best model.

    `folder` gets NAME.safetensors with its card and background, checkpoint.pt and training.jsonl.
    ModelError where training diverges.
    """
    start = start or Start()
    folder.mkdir(parents=True, exist_ok=True)
    run = _prepare(pictures, options, folder, start)
    tell(f"{len(run.numbers)} pictures to train on, {len(run.held_out)} held out; {run.options}")
    if run.state.step == 0 and not (folder / CHECKPOINT).exists():
        _report(run, [], 0.0, tell)
    _loop(run, tell)
    return _finish(run, start)


@dataclass
class _Run:
    """A run under way."""

    pictures: Pictures
    options: TrainingOptions
    folder: Path
    device: torch.device
    student: Student
    optimizer: torch.optim.Optimizer
    numbers: Numbers
    held_out: Numbers
    validation: ValidationSet
    older: Embedder | None
    anchors: Tensor | None
    state: Checkpoint
    reports: list[Report] = field(default_factory=list)

    def averaged(self) -> DescriptorModel:
        """The network with averaged weights, ready to embed."""
        return for_inference(self.network(self.state.average), self.options, self.device)

    @property
    def older_references(self) -> Floats | None:
        """The older model's vectors of the pictures held out."""
        if self.anchors is None:
            return None
        return self.anchors.cpu().numpy()[self.held_out]

    def network(self, weights: Weights) -> DescriptorModel:
        """A network of the student's form that carries these weights."""
        model = build(network_of(self.student.model, self.options), self.options.dimension)
        model.load_state_dict(self.student.model.state_dict() | weights, strict=False)
        return model.eval()


def _prepare(pictures: Pictures, options: TrainingOptions, folder: Path, start: Start) -> _Run:
    device = checked_device(options.device)
    torch.manual_seed(options.seed)
    numbers, held_out = split(len(pictures), options.validation_images, options.seed)
    older = start.older()
    anchors = None if older is None else anchors_of(older, pictures).to(device)
    path = folder / CHECKPOINT
    saved = checkpoints.load(path) if path.exists() else None
    if saved:
        model, targets = model_of(saved, start, options), saved.targets
    else:
        model, targets = model_and_targets(pictures, options, start, numbers, device, anchors)
    options = replace(options, dimension=targets.shape[1], pooled_stages=tuple(model.pooled_stages))
    fast = multiplies_bfloat16(device.type)
    student = Student(model, options.frozen_stages, fast=fast).to(device)
    if saved:
        checkpoints.check(path, saved, options.fixed(), student.model.state_dict())
    state = saved or _first_state(student, targets, options)
    student.model.load_state_dict(state.weights)
    optimizer = _optimizer(student, options)
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
    state.targets = state.targets.to(device)
    reports = history.read(folder / LOG, state.step)
    history.rewrite(folder / LOG, reports)
    return _Run(
        pictures, options, folder, device, student, optimizer, numbers, held_out,
        validation_set(pictures, held_out, options), older, anchors,
        state, reports,
    )  # fmt: skip


def _first_state(student: Student, targets: Tensor, options: TrainingOptions) -> Checkpoint:
    weights = _copy(student.model.state_dict())
    return Checkpoint(
        0, weights, _floats(weights), {}, targets, -1.0, _floats(weights), 0, [], options.fixed()
    )


def _optimizer(student: Student, options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW; norms and biases do not decay."""
    matrices = [p for p in student.trainable() if p.ndim > 1]
    others = [p for p in student.trainable() if p.ndim <= 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": options.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=options.learning_rate,
        betas=(0.9, 0.98),
    )


def _loop(run: _Run, tell: Callable[[str], None]) -> None:
    options, state = run.options, run.state
    began, views = time.perf_counter(), 0
    for pixels, numbers in _batches(run):
        loss = _step(run, pixels, numbers)
        state.step += 1
        views += len(numbers)
        if loss is None:
            state.skipped += 1
            _refuse_divergence(state)
        else:
            state.losses.append(loss)
        if state.step in _renewal_steps(options):
            _renew_targets(run)
        if state.step % options.validate_every == 0 or state.step == options.steps:
            _report(run, state.losses, views / (time.perf_counter() - began), tell)
            began, views = time.perf_counter(), 0


def _batches(run: _Run) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches that are left; look-alikes are chosen by the targets as they are at that step."""
    options, first = run.options, run.state.step
    renewals = {step for step in _renewal_steps(options) if step > first}
    for stop in sorted(renewals | {options.steps}):
        batches = ViewBatches(
            run.pictures,
            run.numbers,
            nearest_targets(run.state.targets.cpu(), run.numbers),
            options.training_mixes,
            (options.image_px, options.final_px),
            options.last_small_step,
            options.batch_size,
            options.look_alikes,
            steps=options.steps,
            seed=options.seed,
        )
        yield from DataLoader(
            batches, batch_size=None, sampler=range(first, stop), num_workers=options.workers
        )
        first = stop


def _step(run: _Run, pixels: Tensor, numbers: Tensor) -> float | None:
    """One update; the loss, or None where it is not a number and nothing was changed."""
    options, state = run.options, run.state
    for group in run.optimizer.param_groups:
        group["lr"] = learning_rate(options, state.step)
    generator = torch.Generator().manual_seed(options.seed * 1_000_003 + state.step)
    images = normalised(pixels.to(run.device))
    images, labels = mix_images(images, numbers.to(run.device), options.mixed, generator)
    with torch.autocast("cuda", torch.bfloat16, enabled=run.device.type == "cuda"):
        vectors = run.student(images)
    loss = _loss(run, vectors.float(), labels)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(run.student.trainable(), _GRADIENT_NORM)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        return None
    run.optimizer.step()
    _average(run)
    return float(loss.detach())


def _loss(run: _Run, vectors: Tensor, labels: Labels) -> Tensor:
    """How far views are from their targets, and the anchor term: a view's picture is to be found
    among the older model's vectors (backward-compatible training, arXiv 2003.11942)."""
    options = run.options
    similarities = (vectors @ run.state.targets.T).float()
    loss = target_softmax(similarities, labels, options.temperature)
    term = threshold_term(similarities, labels, options.temperature)
    loss = loss + options.threshold_weight * term
    if run.anchors is None:
        return loss
    similarities = (vectors @ run.anchors.T).float()
    return loss + options.anchor_weight * target_softmax(similarities, labels, options.temperature)


def learning_rate(options: TrainingOptions, step: int) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    warm = min(1.0, (step + 1) / max(1, options.warmup_steps))
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / options.steps)))
    return options.learning_rate * warm * (0.01 + 0.99 * cosine)


def _average(run: _Run) -> None:
    decay = min(run.options.average, (run.state.step + 1) / (run.state.step + 20))
    with torch.no_grad():
        for name, value in run.student.model.state_dict().items():
            if name in run.state.average:
                run.state.average[name].lerp_(value, 1 - decay)


def _renew_targets(run: _Run) -> None:
    """Move every target half way to what the averaged student makes of the clean picture."""
    seen = clean_targets(run.averaged(), run.pictures, run.options.final_px, run.device)
    seen = spread_targets(seen, run.options.target_spread)
    run.state.targets = functional.normalize(run.state.targets + seen)


def _renewal_steps(options: TrainingOptions) -> set[int]:
    between = options.steps / (options.renewals + 1)
    return {round(between * (i + 1)) for i in range(options.renewals)} - {0, options.steps}


def _refuse_divergence(state: Checkpoint) -> None:
    if state.skipped > 10 and state.skipped > _ALLOWED_SKIPS * state.step:
        raise ModelError(
            f"training diverges: the loss was not a number in {state.skipped} of {state.step} "
            "steps; lower the learning rate"
        )


def _report(run: _Run, losses: list[float], speed: float, tell: Callable[[str], None]) -> None:
    """Validate the averaged weights, keep them if they are the best, write everything down."""
    state = run.state
    vectors = run.validation.embed(run.averaged(), run.device)
    judged, familiar = found_among(vectors[0], vectors)
    score = together(judged, familiar)
    if run.older_references is not None:
        score = (score + together(*found_among(run.older_references, vectors))) / 2
    if score > state.best:
        state.best, state.best_weights = score, _copy(state.average)
    mean = sum(losses) / len(losses) if losses else 0.0
    rate = learning_rate(run.options, state.step)
    report = Report(state.step, mean, rate, speed, state.skipped, judged, familiar)
    run.reports.append(report)
    history.append(run.folder / LOG, report)
    state.losses = []
    state.weights = run.student.model.state_dict()
    state.optimizer = run.optimizer.state_dict()
    checkpoints.save(state, run.folder / CHECKPOINT)
    tell(str(report))


def _finish(run: _Run, start: Start) -> Path:
    """Write the best weights, with the whitening that validates best, and with card and
    background."""
    options = run.options
    model = run.network(run.state.best_weights)
    network = for_inference(model, options, run.device)
    some = np.random.default_rng(options.seed).permutation(run.numbers)[:_BACKGROUND_PICTURES]
    blocks = np.split(np.sort(some), range(_HELD_VIEWS, len(some), _HELD_VIEWS))
    views = (np.stack([square(run.pictures[i], options.search_px) for i in b]) for b in blocks)
    embedded = [embed_views(network, block, run.device).cpu().numpy() for block in views]
    background = np.concatenate(embedded)
    # Vectors that are to be like those of another model may not be turned.
    powers = POWERS[:1] if start.compatible_with else POWERS
    vectors = run.validation.embed(network, run.device)
    chosen = best_whitening(vectors, background, powers)
    turn_projection(model, torch.from_numpy(chosen.matrix), torch.zeros(options.dimension))
    best = max(run.reports, key=lambda report: together(report.validation, report.familiar))
    card = ModelCard(
        start.name,
        options.search_px,
        options.dimension,
        network=network_of(model, options),
        compatible_with=run.older.identity if run.older else "",
        notes=(
            f"{start.notes} Trained with {options}; whitened to the power {chosen.power:g}. "
            f"Validation at step {best.step} by edits held out: {chosen.validation}; by others: "
            f"{chosen.familiar}{_among_older(run, vectors)}"
        ).strip(),
    )
    turned = torch.from_numpy(unit_rows(background @ chosen.matrix))
    return save_model(model.state_dict(), card, turned, run.folder)


def _among_older(run: _Run, vectors: tuple[Floats, Floats, Floats]) -> str:
    """What is found where the originals have vectors of the older model."""
    if run.older is None or run.older_references is None:
        return ""
    judged, familiar = found_among(run.older_references, vectors)
    return f". Among vectors of {run.older.identity}: {judged}; by others: {familiar}"


def _copy(weights: Weights) -> Weights:
    return {name: value.detach().clone() for name, value in weights.items()}


def _floats(weights: Weights) -> Weights:
    return {n: v.detach().clone() for n, v in weights.items() if v.is_floating_point()}
