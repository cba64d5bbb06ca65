"""Tar shards and Parquet with embedded images as inputs, whole and damaged."""

import tarfile
from pathlib import Path

import pytest

from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import list_source, read_refs, read_source
from copydetect.storage.files import LocalStorage
from copydetect.types import Failure
from tests.input_files import FILES, STORAGE, contents, picture, write_parquet, write_tar

TRAIN = Path(__file__).parents[1] / ".." / "shared" / "train"


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_tar(tmp_path, tar_format):
    long = "x" * 60 + "/" + "y" * 90 + ".png"
    members = {f"./{name}": data for name, data in FILES.items()}
    members |= {"a.json": b"{}", ".h.png": b"x", long: picture(4), "empty.png": b""}
    path = write_tar(tmp_path / "0.tar", members, tar_format)
    assert contents(path) == FILES | {long: picture(4), "empty.png": b""}


def test_folder_and_glob_of_tars(tmp_path):
    names = list(FILES)
    write_tar(tmp_path / "0.tar", {name: FILES[name] for name in names[:2]})
    write_tar(tmp_path / "1.tar", {name: FILES[name] for name in names[2:]})
    write_parquet(tmp_path / "0.parquet", {"caption": ["x"]})
    (tmp_path / "0_stats.json").write_text("{}")
    sources = find_sources(STORAGE, str(tmp_path))
    assert {piece.kind for piece in sources.pieces} == {"tar"}
    assert sources.skipped == {".parquet": 1, ".json": 1}
    assert [piece.names for piece in sources.pieces] == [("0.tar",), ("1.tar",)]
    assert contents(tmp_path) == contents(f"{tmp_path}/*.tar") == FILES


def test_truncated_tar_gives_what_is_there(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", {f"{n}.png": bytes([n]) * 5000 for n in range(4)})
    data = whole.read_bytes()
    for length, complete in ((5632 * 2 + 100, 2), (5632 * 2 + 3000, 2), (5632 * 3, 3)):
        (tmp_path / "cut.tar").write_bytes(data[:length])
        found = contents(tmp_path / "cut.tar")
        for n in range(complete):
            assert found.pop(f"{n}.png") == bytes([n]) * 5000
        messages = " ".join(map(str, found.values()))
        assert ("damaged after" in messages) == (length % 5632 > 0)
    (tmp_path / "cut.tar").write_bytes(data[: 5632 * 2] + b"junk" * 400 + data[5632 * 3 :])
    found = contents(tmp_path / "cut.tar")
    assert found["cut.tar"].startswith("the tar is damaged after 2 images")


def test_one_broken_shard_among_many_is_a_failure(tmp_path):
    (tmp_path / "0.tar").write_bytes(b"not a tar" * 1000)
    write_tar(tmp_path / "1.tar", FILES)
    found = contents(tmp_path)
    assert "0.tar is not a readable tar file" in found.pop("0.tar")
    assert found == FILES


@pytest.mark.parametrize("rows_a_group", [1, 3, 100])
@pytest.mark.parametrize("compression", ["none", "snappy"])
def test_parquet_with_bytes(tmp_path, rows_a_group, compression):
    data = [picture(n) for n in range(50)]
    path = write_parquet(
        tmp_path / "x.parquet",
        {"bytes": data, "caption": ["?"] * 50},
        row_group_size=rows_a_group,
        compression=compression,
    )
    assert contents(path) == {f"x.parquet#{n}": data[n] for n in range(50)}


def test_hugging_face_parquet_and_ids(tmp_path):
    images = [{"bytes": picture(1), "path": "p.png"}, None, {"bytes": None, "path": "q.png"}]
    write_parquet(tmp_path / "0.parquet", {"image": images, "image_id": ["x", "y", None]})
    write_parquet(tmp_path / "1.parquet", {"image": images[:1], "mask": [b"other"]})
    assert contents(tmp_path) == {
        "x": picture(1),
        "y": "the row holds no bytes",
        "0.parquet#2": "the row holds no bytes",
        "1.parquet#0": picture(1),
    }


def test_rows_are_read_once_a_row_group(tmp_path, monkeypatch):
    data = [picture(n) for n in range(40)]
    path = write_parquet(tmp_path / "x.parquet", {"image": data}, row_group_size=20)
    refs, _ = list_source(STORAGE, find_sources(STORAGE, str(path)).pieces[0])
    opened = []
    open_file = LocalStorage.open
    monkeypatch.setattr(
        LocalStorage, "open", lambda self, uri: opened.append(uri) or open_file(self, uri)
    )
    wanted = [refs[n] for n in (39, 3, 25, 3, 17)]
    read = list(read_refs(STORAGE, wanted))
    assert [content for _, content in read] == [data[n] for n in (3, 3, 17, 25, 39)]
    assert len(opened) == 2


def test_rows_are_copied_as_they_are_listed_and_then_read_by_range(tmp_path, monkeypatch):
    monkeypatch.setattr("copydetect.inputs.row_copies._BLOCK_BYTES", 300)
    data = [picture(n) for n in range(12)]
    path = write_parquet(tmp_path / "x.parquet", {"image": [*data, None]}, row_group_size=5)
    storage = LocalStorage(row_copies=str(tmp_path / "rows"))
    (piece,) = find_sources(storage, str(path)).pieces
    refs = [ref for ref, content in read_source(storage, piece) if isinstance(content, bytes)]
    assert len(refs) == 12
    assert len(list((tmp_path / "rows").glob("*.rows"))) > 1
    unread = list_source(storage, piece)[0][12]
    read = dict(read_refs(storage, [*refs[::-1], unread]))
    assert [read[ref] for ref in refs] == data
    assert isinstance(read[unread], Failure)
    path.unlink()
    assert dict(read_refs(storage, refs)) == dict(zip(refs, data, strict=True))
    assert isinstance(dict(read_refs(STORAGE, refs))[refs[0]], Failure)


@pytest.mark.skipif(not TRAIN.is_dir(), reason="the training shards are not here")
def test_real_shards():
    first = sorted(TRAIN.glob("*.tar"))[0]
    (piece,) = find_sources(STORAGE, str(first)).pieces
    refs, failures = list_source(STORAGE, piece)
    assert failures == []
    with tarfile.open(first) as tar:
        members = [member for member in tar if member.name.endswith(".jpg")]
        assert [ref.image_id for ref in refs] == [member.name for member in members]
        for ref, content in read_refs(STORAGE, refs[::50]):
            assert content == tar.extractfile(ref.image_id).read()
