"""The program of a Dataflow flex template: all stages in one graph, as a template has one job.

    python flex_template.py --input=gs://BUCKET/photos --output=gs://BUCKET/out \
        --runner=DataflowRunner --project=… --region=… --temp_location=gs://…

The decisions are those of `copydetect dedup --no_check`. OUT gets the tables `groups`, `matches`
and `failures` as Parquet, and in `work` the files of the stages.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineResult

from copydetect import tables
from copydetect.options import RunOptions
from copydetect.storage.clients import reach_with
from copydetect.transforms import DedupImages


def main(argv: Sequence[str] | None = None) -> PipelineResult:
    """Build the graph and hand it to the runner that the options name."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--input", required=True, help="pictures: a folder, glob, manifest, shards")
    parser.add_argument("--output", required=True, help="folder of the tables")
    parser.add_argument("--effort", default="standard", help="fast, standard or thorough")
    parser.add_argument(
        "--parts", type=int, default=256, help="how many workers can share the work"
    )
    given, flags = parser.parse_known_args(argv)
    reach_with(flags)
    pipeline = beam.Pipeline(options=PipelineOptions(flags))
    options = RunOptions(effort=given.effort)
    found = pipeline | DedupImages(given.input, f"{given.output}/work", options, given.parts)
    for name, rows in found.items():
        write = beam.io.WriteToParquet(
            f"{given.output}/{name}/part", tables.SCHEMAS[name], file_name_suffix=".parquet"
        )
        _ = rows | f"write {name}" >> write
    return pipeline.run()


if __name__ == "__main__":
    main()
