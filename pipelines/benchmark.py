"""`copydetect benchmark`: every figure that is claimed, one command each."""

from __future__ import annotations

import sys

from pipelines.cli import end_with, imported

BENCHMARKS = {
    "speed": "images a second of decode, describe and all of dedup, against a bare loop",
    "effort": "recall, time and bytes of fast, standard and thorough side by side",
    "score": "raw cosine and every form of score normalisation, on a truth of pairs or groups",
    "verify": "pairs a second, accuracy, and what each part of the evidence is worth",
    "search": "sharded search up to a million descriptors, against FAISS alone",
    "plan": "lists, shards, bytes and worker-hours for a collection of any size",
}


def main(argv: list[str]) -> int:
    """Run the command line; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<8} {purpose}" for name, purpose in BENCHMARKS.items()]
        print("\n".join(["usage: copydetect benchmark NAME ...", "", *lines]))
        return 0 if argv else 2
    if argv[0] not in BENCHMARKS:
        print(
            f"copydetect benchmark: there is no {argv[0]!r}; choose from {', '.join(BENCHMARKS)}",
            file=sys.stderr,
        )
        return 2
    result: int = imported(f"benchmarks.{argv[0]}").main(argv[1:])
    return result


if __name__ == "__main__":
    end_with(main)
