"""A finished run in Python: its tables, its summary and its pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from copydetect import runs, tables
from copydetect.errors import OptionError
from copydetect.runs import Manifest
from copydetect.spelling import suggestion
from copydetect.storage.files import Storage
from copydetect.summary import Summary, summary_of

if TYPE_CHECKING:
    import pandas


class Result:
    """What a run of `dedup` or `match` left in its output folder; tables are read when asked for.

    storage: what its files are read with; output: the folder; manifest: names and counts of the
    tables, settings and measured figures.
    """

    def __init__(
        self, storage: Storage, output: str, manifest: Manifest, made_before: bool = False
    ) -> None:
        """made_before: whether the run had been finished earlier, and nothing was done again."""
        self.storage = storage
        self._made_before = made_before
        self.output = output
        self.manifest = manifest

    def table(self, name: str) -> pa.Table:
        """The rows of a table by its name; OptionError where there is no such table.

        The schemas are in `copydetect.tables`. RunError where files are missing or damaged. All of
        it is held, about 230 bytes an image and 340 to 620 a verified pair; `batches` holds less.
        """
        self._refuse_unknown(name)
        return self.manifest.table(self.storage, self.output, name)

    def batches(self, name: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The rows of a table, some at a time, for those that do not fit into memory; errors as of
        `table`."""
        self._refuse_unknown(name)
        return self.manifest.batches(self.storage, self.output, name, columns)

    def _refuse_unknown(self, name: str) -> None:
        if name not in tables.SCHEMAS:
            raise OptionError(f"there is no table {name!r}{suggestion(name, tables.SCHEMAS)}")

    def to_pandas(self, name: str) -> pandas.DataFrame:
        """A table as a `pandas.DataFrame`; pandas must be installed."""
        return self.table(name).to_pandas()

    @property
    def images(self) -> pa.Table:
        """One row per image of the input."""
        return self.table("images")

    @property
    def matches(self) -> pa.Table:
        """One row per verified pair, copy or not."""
        return self.table("matches")

    @property
    def groups(self) -> pa.Table:
        """One row per image that belongs to a group of copies; none after `match`."""
        return self.table("groups")

    @property
    def failures(self) -> pa.Table:
        """One row per image that could not be used, with the reason."""
        return self.table("failures")

    @property
    def report(self) -> str | None:
        """The page to look at; None where none was drawn."""
        page = runs.join(self.output, "report", "index.html")
        return page if self.storage.exists(page) else None

    @property
    def summary(self) -> Summary:
        """The run in figures; `print` shows it in words."""
        return summary_of(self.storage, self.output, self.manifest, self.report, self._made_before)

    def __repr__(self) -> str:
        return f"<Result of {self.manifest.command} in {self.output!r}>"
