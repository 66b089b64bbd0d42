"""Readers and hostile tars and folders: one bad pair costs one pair, what came before a fault is kept, nothing raises."""

import io
import os
import tarfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_files import PAIRS, codes, faults, make, pairs_tar, read_all, rows_of, tar, values

from pairloom.errors import Reject, UsageError
from pairloom.readers import ReadOptions, plan
from pairloom.readers.cells import read_file, strict_text

GOOD = [("a.jpg", b"image a"), ("a.txt", b"text a")]


# Tars


def test_a_tar_cut_anywhere_keeps_the_whole_pairs_before(tmp_path: Path) -> None:
    whole = pairs_tar(tmp_path / "whole.tar", [(name, image * 40, text * 30) for name, image, text in PAIRS])
    everything = values(read_all(whole))
    data = whole.read_bytes()
    cut = tmp_path / "cut.tar"
    with tarfile.open(whole) as file:
        end = max(member.offset_data + member.size for member in file)
    seen = set()
    for length in sorted({*range(0, end, 512), *range(1, end, 499)}):
        cut.write_bytes(data[:length])
        rows = read_all(cut)
        assert [fault[0] for fault in faults(cut)] == ["cut_tar"]
        # A cut right after an image leaves a sample that looks whole, except for its text.
        whole_rows = len(rows) - (codes(rows)[-1:] == ["missing_text"])
        assert values(rows)[:whole_rows] == everything[:whole_rows]
        assert codes(rows)[:whole_rows] == [None] * whole_rows
        assert faults(cut) == [("cut_tar", len(rows))]
        seen.add(whole_rows)
    assert seen == set(range(len(PAIRS) + 1)) - {len(PAIRS)} or seen == set(range(len(PAIRS) + 1))


@pytest.mark.parametrize("place", range(3))
def test_a_corrupt_header_ends_a_tar(place: int, tmp_path: Path) -> None:
    path = pairs_tar(tmp_path / "t.tar", [(str(number), b"i", "t") for number in range(3)])
    data = bytearray(path.read_bytes())
    data[place * 2048 : place * 2048 + 512] = os.urandom(512)
    path.write_bytes(data)
    assert [row.source_key for row in read_all(path)] == [str(number) for number in range(place)]
    assert faults(path) == [("corrupt_tar", place)]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 6), st.integers(0, 511), st.binary(min_size=1, max_size=20))
def test_a_tar_with_any_damage_to_its_headers_never_raises(
    tmp_path_factory: pytest.TempPathFactory, block: int, place: int, dirt: bytes
) -> None:
    path = pairs_tar(tmp_path_factory.getbasetemp() / "dirt.tar", [(str(number), b"i", "t") for number in range(2)])
    data = bytearray(path.read_bytes())
    start = block * 512 + place
    data[start : start + len(dirt)] = dirt
    path.write_bytes(data)
    try:
        rows = read_all(path)
    except UsageError:  # all pairs are gone, such as when a name lost its suffix
        return
    assert len(rows) <= 4


@pytest.mark.parametrize("name", ["/etc/a", "../a", "x/../../a", "..//a"])
def test_unsafe_names_are_rejected(name: str, tmp_path: Path) -> None:
    path = tar(tmp_path / "t.tar", [*GOOD, (f"{name}.jpg", b"i"), (f"{name}.txt", b"t")])
    assert codes(read_all(path)) == [None, "unsafe_name"]
    assert not (tmp_path.parent / "a.jpg").exists()


def test_links_devices_and_folders_are_no_members(tmp_path: Path) -> None:
    path = tar(tmp_path / "t.tar", GOOD)
    with tarfile.open(path, "a") as file:
        for number, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)):
            info = tarfile.TarInfo(f"b{number}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
    assert values(read_all(path)) == [(b"image a", ("text a",))]


def test_duplicates_in_tars(tmp_path: Path) -> None:
    path = tar(
        tmp_path / "t.tar", [*GOOD, ("b.jpg", b"1"), ("b.jpg", b"2"), ("b.txt", b"t"), *GOOD, ("c.jpg", b"i"), ("c.txt", b"t")]
    )
    rows = read_all(path)
    assert [row.source_key for row in rows] == ["a", "b", "a", "c"]
    assert codes(rows) == [None, "duplicate_member", "duplicate_key", None]
    assert rows[2].image == b"image a"


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_odd_names_in_tars(format: int, tmp_path: Path) -> None:
    names = ["new\nline", "tab\t", "鸟", "👍" * 60, "x" * 300, "bad\udcff", "quote'\"", " "]
    path = tar(tmp_path / "t.tar", [(f"{name}{end}", b"t") for name in names for end in (".jpg", ".txt")], format)
    rows = read_all(path)
    assert codes(rows) == [None] * len(names)
    assert [row.source_key for row in rows] == [name.replace("\udcff", "\\xff") for name in names]


def test_members_too_large_or_not_text(tmp_path: Path) -> None:
    big = b"x" * (10 << 20)
    members = [("a.jpg", b"i"), ("a.txt", big), ("b.jpg", b"i"), ("b.txt", b"\xff"), ("c.jpg", b"i"), ("c.json", b"{"), *GOOD]
    rows = read_all(tar(tmp_path / "t.tar", [*members[:6], ("d.jpg", b"i"), ("d.txt", b"t")]))
    assert codes(rows) == ["too_many_bytes", "text_encoding", "broken_json", None]
    assert [row.image for row in rows] == [b"i"] * 4


def test_a_tar_in_memory_is_never_larger_than_a_pair(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    info = tarfile.TarInfo("a.jpg")
    info.size = 1 << 40
    buffer.write(info.tobuf())
    (tmp_path / "t.tar").write_bytes(buffer.getvalue() + b"x" * 5000)
    assert faults(tmp_path / "t.tar") == [("cut_tar", 0)]


def test_a_fault_is_told_even_if_no_row_is_sampled(tmp_path: Path) -> None:
    good = pairs_tar(tmp_path / "good.tar", PAIRS)
    (tmp_path / "cut.tar").write_bytes(good.read_bytes()[:600])
    found = plan([str(good), str(tmp_path / "cut.tar"), str(good)], sample=2)
    assert [shard.rows for shard in found.shards] == [1, 0, 1] and found.shards[1].faults
    assert len(rows_of(found)) == 2


def test_what_follows_the_end_of_a_tar_is_told(tmp_path: Path) -> None:
    whole = pairs_tar(tmp_path / "whole.tar", PAIRS).read_bytes()
    (tmp_path / "padded.tar").write_bytes(whole + bytes(3_000_000))
    assert faults(tmp_path / "padded.tar") == []
    (tmp_path / "two.tar").write_bytes(whole + whole)
    assert faults(tmp_path / "two.tar") == [("corrupt_tar", len(PAIRS))]
    with tarfile.open(tmp_path / "whole.tar") as file:
        header = file.getmembers()[2].offset
    (tmp_path / "zeros.tar").write_bytes(whole[:header] + bytes(512) + whole[header + 512 :])
    assert [code for code, _ in faults(tmp_path / "zeros.tar")] == ["corrupt_tar"]


# Folders


def test_files_of_a_folder_that_are_no_pairs(tmp_path: Path) -> None:
    for name in ("lone.jpg", "empty.jpg", "gbk.jpg", "good.jpg", "utf16.jpg", "blank.jpg", "broken.jpg", "list.jpg"):
        (tmp_path / name).write_bytes(b"image")
    for name, data in {
        "alone.txt": b"t",
        "empty.txt": b"",
        "blank.txt": b" \n\t",
        "gbk.txt": "一只鸟".encode("gbk"),
        "utf16.txt": "一只鸟".encode("utf-16"),
        "good.txt": b"\xef\xbb\xbftext",
        "broken.json": b'{"caption": ',
        "list.json": b"[1]",
        "note.md": b"no pair",
        ".hidden.jpg": b"no pair",
    }.items():
        (tmp_path / name).write_bytes(data)
    found = {row.source_key: (row.reject.code if row.reject else row.texts) for row in read_all(tmp_path)}
    assert found == {
        "alone": "missing_image",
        "blank": "empty_text",
        "broken": "broken_json",
        "empty": "empty_text",
        "gbk": "text_encoding",
        "good": ("text",),
        "list": "broken_json",
        "lone": "missing_text",
        "utf16": ("一只鸟",),
    }
    rows = read_all(tmp_path, ReadOptions(encoding="gb18030"))
    assert next(row.texts for row in rows if row.source_key == "gbk") == ("一只鸟",)


def test_links_pipes_and_loops_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    (tmp_path / "in" / "loop.jpg").symlink_to(tmp_path / "in")
    (tmp_path / "one.jpg").symlink_to("two.jpg")
    (tmp_path / "two.jpg").symlink_to("one.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("absent.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("one", "two", "nowhere", "pipe"):
        (tmp_path / f"{name}.txt").write_text("t")
    rows = read_all(tmp_path)
    assert [row.source_key for row in rows] == ["nowhere", "one", "pipe", "two"]
    assert codes(rows) == ["missing_image", "unreadable", "unreadable", "unreadable"]


@pytest.mark.skipif(not Path("/proc/version").is_file(), reason="files that are longer than they say are Linux's")
def test_a_file_longer_than_it_said_is_read_whole() -> None:
    assert Path("/proc/version").stat().st_size == 0
    data = Path("/proc/version").read_bytes()
    assert read_file("/proc/version", len(data), "missing_image") == data
    with pytest.raises(Reject, match="bytes"):
        read_file("/proc/version", len(data) - 1, "missing_image")


def test_names_of_files_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"bad\xff.jpg", b"bad\xff.txt", b"new\nline.jpg", b"new\nline.txt"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"x")
    rows = read_all(tmp_path)
    assert [row.source_key for row in rows] == ["bad\\xff", "new\nline"] and codes(rows) == [None, None]


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.txt"):
        (tmp_path / name).write_bytes(name.encode())
    assert codes(read_all(tmp_path)) == [None, "duplicate_key"]


def test_folders_deeper_than_python_recurses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        Path("d").mkdir()
        os.chdir("d")
    Path("deep.jpg").write_bytes(b"image")
    try:
        assert codes(read_all(tmp_path)) == ["missing_text"]
    finally:  # what cleans up after tests recurses
        Path("deep.jpg").unlink()
        for _ in range(1200):
            os.chdir("..")
            Path("d").rmdir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    make("folder", tmp_path)
    (tmp_path / "cat.jpg").chmod(0)
    (tmp_path / "locked").mkdir(0)
    assert codes(read_all(tmp_path)).count("unreadable") == 1
    assert faults(tmp_path) == [("unreadable", 7)]
    (path := pairs_tar(tmp_path / "t.tar", PAIRS)).chmod(0)
    assert faults(path) == [("unreadable", 0)]


def test_a_disk_that_fails_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(pairs_tar(tmp_path / f"{name}.tar", PAIRS)) for name in "ab"]
    open_file = Path.open

    def fail(self: Path, *args: str) -> object:
        if self.name == "a.tar":
            raise PermissionError(13, "Permission denied")
        return open_file(self, *args)

    monkeypatch.setattr(Path, "open", fail)
    found = plan(paths)
    assert [each.rows for each in found.containers] == [0, 7]
    assert [fault.code for shard in found.shards for fault in shard.faults] == ["unreadable"]


REAL = (
    *(
        "Café α",
        "привет, мир",
        "Ελληνικά и русский",
        "שָׁלוֹם",
        "25 °C ± 3 µm × 2",
        "naïve façade — “quoted”",
        "ˈkæfeɪ",
        "ñ",
        "é й ə",
    ),
    *(unicodedata.normalize("NFD", "Tiếng Việt có dấu, mưa ở Huế"), "Բարեւ", "مرحبا بالعالم", "日本語とЯ", "İstanbul'da çay"),
)


@pytest.mark.parametrize("text", REAL)
def test_no_real_text_passes_for_another_encoding(text: str) -> None:
    assert strict_text(text.encode(), "utf-8") == text


def test_gbk_that_happens_to_be_valid_utf8_is_not_mangled() -> None:
    data = "一只猫".encode("gbk")
    assert data.decode("utf-8") == "һֻè"
    with pytest.raises(Reject, match="give --encoding, for example gb18030"):
        strict_text(data, "utf-8")
    assert strict_text(data, "gb18030") == "一只猫"
