"""A run, or a file of predictions, against a ground truth."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from copydetect.errors import InputError
from copydetect.evaluation import ground_truth, metrics, plots
from copydetect.evaluation import rankings as evaluation
from copydetect.evaluation.ground_truth import GroupTruth, PairTruth
from copydetect.evaluation.rankings import CandidateRule, Ranking
from copydetect.evaluation.relations import relation_figures
from copydetect.runs import Manifest, join
from copydetect.storage.files import Storage
from copydetect.storage.places import storage_for
from copydetect.types import Doubles

_REPEATED = ["role", "image_id", "duplicate_of"]
_LEVELS = (("candidates", "score"), ("matches", "confidence"))


@dataclass(frozen=True)
class _Scored:
    """The scored pairs of one level of a run."""

    queries: list[str]
    references: list[str]
    scores: Doubles


@dataclass
class _Evaluation:
    """What is printed and drawn: JSON values, named rankings and the reliability diagram."""

    figures: dict[str, Any]
    rankings: dict[str, Ranking]
    reliability_svg: bytes | None = None


def evaluate(
    run: str, truth_uri: str, rule: CandidateRule, output: str | None = None
) -> dict[str, Any]:
    """Score a run, or a CSV of predictions; the figures, as JSON values.

    output: folder for the figures and plots; of a run it is OUT/evaluation unless it is given.
    """
    truth = ground_truth.read_truth(storage_for(truth_uri), truth_uri)
    if run.lower().endswith(".csv"):
        result = evaluate_predictions(storage_for(run), run, truth, rule)
    else:
        result = evaluate_run(storage_for(run), run, truth, rule)
        output = output or join(run, "evaluation")
    if output:
        _write(storage_for(output), output, result)
    return result.figures


def evaluate_predictions(
    storage: Storage, uri: str, truth: PairTruth | GroupTruth, rule: CandidateRule
) -> _Evaluation:
    """A CSV of query_id, reference_id, score."""
    queries, references, scores = ground_truth.read_predictions(storage, uri)
    ranking = evaluation.rank_pairs(queries, references, np.array(scores), truth, rule)
    figures = {"rule": str(rule), **evaluation.ranking_figures(ranking)}
    return _Evaluation(figures, {"predictions": ranking})


def evaluate_run(
    storage: Storage, output: str, truth: PairTruth | GroupTruth, rule: CandidateRule
) -> _Evaluation:
    """The candidates, matches and groups of a finished run."""
    manifest = Manifest.load(storage, output)
    one_pile = manifest.command == "dedup"
    relations = truth.relations if isinstance(truth, PairTruth) else {}
    if one_pile and isinstance(truth, PairTruth):
        truth = GroupTruth.of_pairs(truth)
    if not one_pile and isinstance(truth, GroupTruth):
        raise InputError(f"{output} matched queries with references; groups are of one pile")
    repeats = _repeats(manifest.batches(storage, output, "images", _REPEATED))
    result = _Evaluation({"rule": str(rule)}, {})
    for name, column in _LEVELS:
        if manifest.tables.get(name):
            more = ["is_copy", "relation"] if name == "matches" else []
            wanted = ["query_id", "reference_id", column, *more]
            table = manifest.table(storage, output, name, wanted)
            _add_level(result, name, _scored_pairs(table, column, repeats, one_pile), truth, rule)
            if name == "matches":
                _add_verdicts(result, table, truth)
                if relations:
                    columns = ("query_id", "reference_id", "relation")
                    told = zip(*(table[column].to_pylist() for column in columns), strict=True)
                    result.figures["relations"] = relation_figures(told, relations)
    if isinstance(truth, GroupTruth) and manifest.tables.get("groups"):
        table = manifest.table(storage, output, "groups", ["image_id", "group_id"])
        groups = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
        result.figures["groups"] = evaluation.group_figures(groups, truth)
    return result


def candidate_ranking(storage: Storage, output: str, truth: PairTruth | GroupTruth) -> Ranking:
    """The candidates of a finished run of `match`, judged."""
    manifest = Manifest.load(storage, output)
    repeats = _repeats(manifest.batches(storage, output, "images", _REPEATED))
    table = manifest.table(storage, output, "candidates", ["query_id", "reference_id", "score"])
    scored = _scored_pairs(table, "score", repeats, False)
    return evaluation.rank_pairs(scored.queries, scored.references, scored.scores, truth)


def _add_level(
    result: _Evaluation,
    name: str,
    scored: _Scored,
    truth: PairTruth | GroupTruth,
    rule: CandidateRule,
) -> None:
    pairs = (scored.queries, scored.references, scored.scores)
    ranking = evaluation.rank_pairs(*pairs, truth, rule)
    figures = evaluation.ranking_figures(ranking)
    if isinstance(truth, GroupTruth) and truth.originals:
        with_original = evaluation.rank_pairs(*pairs, truth, rule, originals_only=True)
        figures["pairs_with_an_original"] = evaluation.ranking_figures(with_original)
    result.figures[name] = figures
    result.rankings[name] = ranking


def _add_verdicts(result: _Evaluation, matches: pa.Table, truth: PairTruth | GroupTruth) -> None:
    """What `is_copy` and `confidence` say of the verified pairs themselves."""
    queries, references = (matches[c].to_pylist() for c in ("query_id", "reference_id"))
    confidences = matches["confidence"].to_numpy().astype(np.float64)
    ranking = evaluation.rank_pairs(queries, references, confidences, truth)
    accepted = matches["is_copy"].to_numpy().astype(bool)
    right = int((accepted & ranking.labels).sum())
    diagram = metrics.reliability(confidences, ranking.labels)
    sides = [queries] if isinstance(truth, PairTruth) else [queries, references]
    reported = [image for side in sides for image, yes in zip(side, accepted, strict=True) if yes]
    result.figures["matches"] |= {
        "expected_calibration_error": diagram.expected_calibration_error,
        "accepted": {
            "pairs": int(accepted.sum()),
            "precision": right / max(1, int(accepted.sum())),
            "recall": right / len(ranking.positives),
            "false_alarms": evaluation.false_alarm_rate(reported, truth),
        },
    }
    result.reliability_svg = plots.reliability_svg(diagram)


def _repeats(images: Iterable[pa.Table]) -> dict[str, dict[str, list[str]]]:
    """By role: for each image that has byte-identical repeats, itself and them."""
    repeats: dict[str, dict[str, list[str]]] = {}
    for batch in images:
        copies = batch.filter(pc.is_valid(batch["duplicate_of"]))
        columns = (copies[name].to_pylist() for name in _REPEATED)
        for role, image_id, original in zip(*columns, strict=True):
            repeats.setdefault(role, {}).setdefault(original, [original]).append(image_id)
    return repeats


def _scored_pairs(
    table: pa.Table, column: str, repeats: dict[str, dict[str, list[str]]], one_pile: bool
) -> _Scored:
    """The pairs of a table, with those that byte-identical files add."""
    queries, references = (table[name].to_pylist() for name in ("query_id", "reference_id"))
    scores = table[column].to_numpy().astype(np.float64)
    if not repeats:
        return _Scored(queries, references, scores)
    of_query = repeats.get("image" if one_pile else "query", {})
    of_reference = repeats.get("image" if one_pile else "reference", {})
    rows = [
        (query, reference, score)
        for a, b, score in zip(queries, references, scores.tolist(), strict=True)
        for query in of_query.get(a, [a])
        for reference in of_reference.get(b, [b])
    ]
    if one_pile:
        best = 1.0 if column == "confidence" else max([*scores.tolist(), 1.0])
        rows += [
            (files[i], files[j], best)
            for files in of_query.values()
            for j in range(len(files))
            for i in range(j)
        ]
    a, b, values = zip(*rows, strict=True) if rows else ((), (), ())
    return _Scored(list(a), list(b), np.array(values, np.float64))


def _write(storage: Storage, folder: str, result: _Evaluation) -> None:
    curves = {name: ranking.curve for name, ranking in result.rankings.items()}
    text = json.dumps(result.figures, indent=2)
    storage.write(join(folder, "evaluation.json"), text.encode())
    storage.write(join(folder, "precision_recall.svg"), plots.precision_recall_svg(curves))
    if result.reliability_svg is not None:
        storage.write(join(folder, "reliability.svg"), result.reliability_svg)
