"""How tables are written: see `copydetect.tables`."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from copydetect import tables
from copydetect.storage.files import LocalStorage


@pytest.mark.parametrize(("rows", "compression"), [(16, "SNAPPY"), (200_000, "ZSTD")])
def test_small_tables_are_compressed_by_what_begins_at_once(tmp_path, rows, compression):
    table = pa.table({"number": np.arange(rows), "name": [f"image {n}" for n in range(rows)]})
    uri = str(tmp_path / "part.parquet")
    tables.write_table(LocalStorage(), uri, table)
    group = parquet.ParquetFile(uri).metadata.row_group(0)
    assert {group.column(at).compression for at in range(2)} == {compression}
    assert tables.read_table(LocalStorage(), uri).equals(table)
