"""Inputs of every kind over the same pictures, and what users point at by mistake."""

import os

import pytest

from copydetect.errors import InputError
from copydetect.inputs import extensions
from copydetect.inputs.finding import find_sources
from copydetect.inputs.sources import list_source, read_refs, read_source
from copydetect.storage.files import LocalStorage, Survey
from copydetect.types import Failure, ImageRef
from tests.input_files import FILES, STORAGE, contents, picture, write_parquet, write_tar


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "notes.txt").write_text("x")
    (folder / "b" / "README").write_text("x")
    (folder / ".thumb.png").write_bytes(picture(9))
    return folder


def test_folder(photos):
    sources = find_sources(STORAGE, f"{photos}/")
    (piece,) = sources.pieces
    assert (piece.kind, piece.root, sources.file_count) == ("files", str(photos), 3)
    assert sources.skipped == {".txt": 1, "": 1, "hidden": 1}
    assert contents(photos) == FILES
    refs, failures = list_source(STORAGE, sources.pieces[0], "query")
    assert refs[0] == ImageRef("a.png", f"{photos}/a.png", "", "query")
    assert failures == []


def test_relative_folder_and_single_image(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    assert contents("photos") == FILES
    assert contents("./photos") == FILES
    monkeypatch.chdir(photos)
    assert contents(".") == FILES
    assert contents("a.png") == {"a.png": FILES["a.png"]}
    assert contents(f"file://{photos}") == FILES


def test_glob(photos):
    assert contents(f"{photos}/b/*.png") == {"d e.png": FILES["b/d e.png"]}
    assert contents(f"{photos}/**/*.[pP]*") == FILES
    assert contents(f"{photos}//*") == {"a.png": FILES["a.png"]}
    (photos / "b[1]").mkdir()
    (photos / "b[1]" / "x.png").write_bytes(picture(1))
    assert list(contents(photos / "b[1]")) == ["x.png"]


def test_many_files_are_cut_into_pieces(tmp_path):
    for number in range(600):
        (tmp_path / f"{number:03}.jpg").touch()
    sources = find_sources(STORAGE, str(tmp_path))
    assert [len(piece.names) for piece in sources.pieces] == [256, 256, 88]
    listed = [ref.image_id for piece in sources.pieces for ref in list_source(STORAGE, piece)[0]]
    assert listed == [f"{number:03}.jpg" for number in range(600)]


def test_csv_manifest(photos):
    manifest = photos / "list.csv"
    outside = photos.parent / "outside.png"
    outside.write_bytes(picture(5))
    manifest.write_text(
        f'\ufeffimage_id,note,uri\nfirst,"two\nlines",a.png\n,x,./b/c.PNG\n\n'
        f"007,,{outside}\n,,\n,,{outside}\n,,gone.png\n"
    )
    found = contents(manifest)
    assert found["first"] == FILES["a.png"]
    assert found["b/c.PNG"] == FILES["b/c.PNG"]
    assert found["007"] == found[str(outside)] == picture(5)
    assert found["list.csv#4"] == "row 4 of the manifest has no uri"
    assert "gone.png: No such file" in found["gone.png"]
    assert len(found) == 6


def test_parquet_manifest(photos):
    write_parquet(photos / "list.parquet", {"uri": ["a.png", None], "image_id": [7, 8]})
    assert contents(photos / "list.parquet") == {
        "7": FILES["a.png"],
        "8": "row 2 of the manifest has no uri",
    }
    (piece,) = find_sources(STORAGE, str(photos / "list.parquet")).pieces
    assert piece.kind == "manifest"


def test_what_changed_since_listing_is_a_failure(photos, tmp_path):
    tar = write_tar(tmp_path / "0.tar", FILES)
    table = write_parquet(tmp_path / "0.parquet", {"image": list(FILES.values())})
    refs = []
    for spec in (photos, tar, table):
        refs += list_source(STORAGE, find_sources(STORAGE, str(spec)).pieces[0])[0]
    (photos / "a.png").unlink()
    tar.write_bytes(tar.read_bytes()[:2048])
    write_parquet(table, {"image": [picture(7)]})
    read = {(ref.uri, ref.member): content for ref, content in read_refs(STORAGE, refs)}
    assert len(read) == 9
    failures = [content for content in read.values() if isinstance(content, Failure)]
    reasons = " ".join(failure.message for failure in failures)
    assert {failure.stage for failure in failures} == {"read"}
    assert "No such file" in reasons
    assert "truncated: only 0 of" in reasons
    assert "has no such row any more" in reasons
    tar.unlink()
    table.write_bytes(b"PAR1")
    assert all(isinstance(content, Failure) for _, content in read_refs(STORAGE, refs[3:]))


def test_names_that_are_no_unicode_are_failures_and_newlines_are_not(tmp_path):
    for name in (b"caf\xe9.png", b"two\nlines.png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(picture(1))
    found = contents(tmp_path)
    assert found["two\nlines.png"] == picture(1)
    assert "not valid UTF-8" in found["caf\\udce9.png"]
    assert "".join(found).encode()


def test_images_win_over_a_stray_archive(photos):
    write_tar(photos / "backup.tar", FILES)
    sources = find_sources(STORAGE, str(photos))
    assert {piece.kind for piece in sources.pieces} == {"files"}
    assert sources.skipped == {".txt": 1, "": 1, ".tar": 1, "hidden": 1}


def test_huge_files_are_refused_unread(photos, monkeypatch):
    with open(photos / "huge.png", "wb") as file:
        file.truncate(1 << 40)
    assert "more than 1,073,741,824 bytes" in contents(photos)["huge.png"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, r"in.put does not exist"),
        (lambda path: path.mkdir(), r"in.put holds no files"),
        (lambda path: path.write_text("x"), r"holds no images.*1 \.put"),
    ],
)
def test_nothing_to_read(tmp_path, make, message):
    make(tmp_path / "in.put")
    with pytest.raises(InputError, match=message):
        find_sources(STORAGE, str(tmp_path / "in.put"))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("m.csv", b"url,id\nx,1\n", "m.csv is a manifest without a column `uri`: it has url, id"),
        ("m.csv", b"", "without a column `uri`: it has none"),
        ("m.csv", b"uri\n", "m.csv is a manifest without rows"),
        ("m.csv", b"uri\n\xff\xfe\n", "m.csv is not a readable CSV manifest"),
        ("m.csv", b'uri\n"a\n', "m.csv is not a readable CSV manifest"),
        ("m.parquet", b"PAR1 no", "m.parquet is not a readable Parquet file"),
        ("m.parquet", b"", "m.parquet is not a readable Parquet file"),
        ("m.tar", b"", "m.tar is not a readable tar file"),
        ("m.tar", b"no tar" * 500, "m.tar is not a readable tar file"),
        ("m.tar", b"\x1f\x8b" * 500, "m.tar is not a readable tar file"),
        ("m.tar", bytes(10240), "m.tar is a tar file without images"),
        ("notes.txt", b"x", "notes.txt holds no images"),
    ],
)
def test_inputs_that_are_not_what_they_claim(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        find_sources(STORAGE, str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_parquet_without_or_with_too_many_columns_of_bytes(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", {"caption": ["?"]})
    with pytest.raises(InputError, match=r"needs one column with the bytes.*it has none"):
        find_sources(STORAGE, str(path))
    write_parquet(path, {"left": [b"1"], "right": [b"2"]})
    with pytest.raises(InputError, match="several: left, right"):
        find_sources(STORAGE, str(path))


@pytest.mark.parametrize("spec", ["", "/nowhere/*.jpg", "/nowhere/x.tar"])
def test_specs_of_nothing(spec):
    with pytest.raises(InputError):
        find_sources(STORAGE, spec)


class Bucket:
    """The storage of a made-up scheme, whose names may not be handled as local paths."""

    def __init__(self, folder):
        self._prefix = f"{folder}/"
        self._local = LocalStorage()

    def _path(self, uri):
        return uri.replace("mem://bucket/", self._prefix)

    def _files(self, files):
        return [
            type(file)(file.uri.replace(self._prefix, "mem://bucket/"), file.size_bytes)
            for file in files
        ]

    def open(self, uri):
        return self._local.open(self._path(uri))

    def read(self, uri, most_bytes=None):
        return self._local.read(self._path(uri))

    def exists(self, uri):
        return self._local.exists(self._path(uri))

    def files_under(self, uri):
        return self._files(self._local.files_under(self._path(uri)))

    def survey(self, uri):
        return Survey(self.files_under(uri))

    def matching(self, pattern):
        return self._files(self._local.matching(self._path(pattern)))


def test_uris_with_a_scheme(photos):
    (photos / "m.csv").write_text("uri\nphotos/b/c.PNG\nmem://bucket/photos/a.png\n")
    (photos / "m.csv").rename(photos.parent / "m.csv")
    bucket = Bucket(photos.parent)
    for spec, ids in (
        ("mem://bucket/photos", list(FILES)),
        ("mem://bucket/photos/b/*.png", ["d e.png"]),
        ("mem://bucket/m.csv", ["photos/b/c.PNG", "photos/a.png"]),
    ):
        pieces = find_sources(bucket, spec).pieces
        read = [pair for piece in pieces for pair in read_source(bucket, piece)]
        assert [ref.image_id for ref, _ in read] == ids
        assert all(isinstance(content, bytes) for _, content in read)
        assert all(ref.uri.startswith("mem://bucket/photos/") for ref, _ in read)


def test_extensions_are_what_decoding_knows():
    assert {".jpg", ".png", ".webp", ".gif", ".bmp", ".tif", ".heic", ".avif"} <= set(
        extensions.IMAGE_EXTENSIONS
    )
