"""Hand-ins from Canvas, Moodle, archives and folders; what could do harm is left where it is."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from conftest import NAME

from autograder import cli, collect
from autograder.collect import Collected
from autograder.course import Course, CourseError
from autograder.intake import find

OTHER = "lab91_other"
FILE = f"{NAME}.ipynb"
T1, T2 = (2026, 3, 1, 12, 0, 0), (2026, 3, 2, 12, 0, 0)
Files = dict[str, bytes]


@pytest.fixture
def own(tmp_path: Path) -> Course:
    """A course of two labs. Nothing is built or graded here."""
    for lab in (NAME, OTHER):
        (tmp_path / "solutions" / lab).mkdir(parents=True)
        (tmp_path / "solutions" / lab / f"{lab}.py").touch()
    (tmp_path / "labs").mkdir()
    return Course(tmp_path)


def zip_of(path: Path, files: Files, when: tuple[int, ...] = T1) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, when), data, zipfile.ZIP_DEFLATED)
    return path


def tar_of(path: Path, files: Files, mode: str = "w:gz",
           *more: Callable[[tarfile.TarInfo], None]) -> Path:  # fmt: skip
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), datetime(*T1).timestamp()
            archive.addfile(info, io.BytesIO(data))
        for change in more:
            info = tarfile.TarInfo("ada/odd")
            change(info)
            archive.addfile(info)
    return path


def folder_of(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def classroom(course: Course) -> Files:
    """Every file in the class, by path."""
    root = course.classroom / "submitted"
    return {p.relative_to(root).as_posix(): p.read_bytes()
            for p in sorted(root.rglob("*")) if p.is_file()}  # fmt: skip


def notebooks(course: Course) -> Files:
    tail = f"/{NAME}/{FILE}"
    return {k.removesuffix(tail): v for k, v in classroom(course).items() if k.endswith(tail)}


def whats(done: Collected) -> list[str]:
    return [row[-1] for row in done.rows]


# --- where they come from --------------------------------------------------------------------


def test_canvas(own: Course, tmp_path: Path) -> None:
    source = zip_of(tmp_path / "x submissions.zip", {
        f"doejane_123_456_{FILE}": b"1",
        f"müllerjörg_LATE_124_457_{NAME}-1.ipynb": b"2",
        f"LATE_anon_x9y8z_458_{FILE}": b"3",
        f"o_neill_125_459_{NAME} (2).ipynb": b"4",
        "doejane_123_460_notes.pdf": b"%PDF",
        "kimlee_126_461_essay.pdf": b"%PDF",
    })  # fmt: skip
    done = collect.collect(own, [source])
    assert notebooks(own) == {"doejane_123": b"1", "müllerjörg_124": b"2", "anon_x9y8z": b"3",
                              "o_neill_125": b"4"}  # fmt: skip
    assert whats(done).count("taken (late, says Canvas)") == 2
    assert whats(done).count("skipped: no notebook") == 1
    assert (done.taken, done.lost) == (4, 1)
    assert not any("timestamp" in name for name in classroom(own))  # it is that of the download


def test_canvas_numbers_tell_which_file_is_newer(own: Course, tmp_path: Path) -> None:
    done = collect.collect(own, [zip_of(tmp_path / "x.zip", {
        f"doejane_123_1000_{NAME}-1.ipynb": b"new", f"doejane_123_999_{FILE}": b"old",
    })])  # fmt: skip
    assert notebooks(own) == {"doejane_123": b"new"}
    assert "skipped: another file of theirs is newer or has the lab's name" in whats(done)


@pytest.mark.parametrize("form", ["{} _assignsubmission_file_/{}", "{} _assignsubmission_file/{}",
                                  "{} _assignsubmission_file_/my work/{}",
                                  "{} _assignsubmission_file_{}"])  # fmt: skip
def test_moodle(own: Course, tmp_path: Path, form: str) -> None:
    form = form.replace(" _", "_", 1)
    done = collect.collect(own, [zip_of(tmp_path / "C-Lab 90-77.zip", {
        form.format("Jane Doe_123", "final.ipynb"): b"1",
        form.format("Žofie O'Neil_124", FILE): b"2",
        "Jane Doe_123_assignsubmission_onlinetext_/onlinetext.html": b"<p>",
    })])  # fmt: skip
    assert notebooks(own) == {"Jane_Doe_123": b"1", "Žofie_O_Neil_124": b"2"}
    assert done.lost == 0
    (stamp, _) = [v for k, v in classroom(own).items() if k.endswith("timestamp.txt")]
    assert stamp == datetime(*T1).astimezone(collect.UTC).strftime("%F %T UTC\n").encode()


FORMS: dict[str, Callable[[Path, Files], Path]] = {
    "zip": lambda path, files: zip_of(path / "x.zip", files),
    "tar": lambda path, files: tar_of(path / "x.tar", files, "w:"),
    "tar.gz": lambda path, files: tar_of(path / "x.tgz", files, "w:gz"),
    "folder": lambda path, files: folder_of(path / "x", files),
}
PLAIN = {
    "with labs": {f"ada/{NAME}/{FILE}": b"1", f"bob/{NAME}/x.ipynb": b"2", "bob/notes.txt": b""},
    "without": {f"ada/{FILE}": b"1", f"bob/sub/{NAME} (1).ipynb": b"2"},
    "below one folder": {f"all/ada/{FILE}": b"1", f"all/bob/{NAME}/x.ipynb": b"2", "all/a": b""},
    "by lab": {f"{NAME}/ada/x.ipynb": b"1", f"{NAME}/bob/x.ipynb": b"2"},
    "one lab of two": {f"ada/{NAME}/x.ipynb": b"1", f"ada/{OTHER}/x.ipynb": b"3",
                       "bob/Lab 90.ipynb": b"2"},
    "with rubbish": {f"./ada/{FILE}": b"1", f"./bob/{FILE}": b"2", f"__MACOSX/ada/._{FILE}": b"",
                     f"ada/.ipynb_checkpoints/{FILE}": b"3", "ada/.DS_Store": b""},
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", PLAIN)
def test_plain_archives_and_folders(own: Course, tmp_path: Path, form: str, case: str) -> None:
    done = collect.collect(own, [FORMS[form](tmp_path, PLAIN[case])], "lab90")
    assert notebooks(own) == {"ada": b"1", "bob": b"2"}
    assert (done.refused, done.lost) == ([], 0)


def test_a_single_student_is_not_taken_for_a_folder_around(own: Course, tmp_path: Path) -> None:
    for number, path in enumerate((f"ada/{FILE}", f"all/bob/{FILE}", f"eve/{NAME}/{FILE}")):
        collect.collect(own, [zip_of(tmp_path / f"{number}.zip", {path: b"1"})])
    assert set(notebooks(own)) == {"ada", "bob", "eve"}


def test_the_lab_is_asked_for_where_nothing_tells_it(own: Course, tmp_path: Path) -> None:
    source = zip_of(tmp_path / "x.zip", {"ada/x.ipynb": b"1"})
    done = collect.collect(own, [source])
    assert whats(done) == ["skipped: which lab? say it with --lab"]
    assert done.lost == 1
    assert collect.collect(own, [source], "lab90").taken == 1
    assert notebooks(own) == {"ada": b"1"}


def test_names_are_those_of_grading(own: Course, tmp_path: Path) -> None:
    names = ("[4] x", "-rf", "n" * 300, "a\nb", "=1+1", "cafe\u0301")
    collect.collect(own, [zip_of(tmp_path / "x.zip", {f"{n}/{FILE}": b"1" for n in names})])
    found = find(own.classroom / "submitted", [NAME])
    assert {s.student for s in found} == {"_4_x", "rf", "n" * 64, "a_b", "_1+1", "caf\u00e9"}
    assert not any(s.findings for s in found)


# --- again -----------------------------------------------------------------------------------


def test_a_newer_hand_in_replaces_and_the_older_is_kept(own: Course, tmp_path: Path) -> None:
    old = zip_of(tmp_path / "old.zip", {f"ada/{FILE}": b"old"}, T1)
    new = zip_of(tmp_path / "new.zip", {f"ada/{FILE}": b"new"}, T2)
    assert whats(collect.collect(own, [old])) == ["taken"]
    assert whats(collect.collect(own, [old])) == ["there already"]
    assert whats(collect.collect(own, [new])) == ["taken; the earlier one is in attempts/"]
    assert whats(collect.collect(own, [old])) == ["skipped: what is there is newer"]
    kept = {k: v for k, v in classroom(own).items() if "/attempts/" in k}
    assert list(kept.values()) == [b"old"]
    (found,) = find(own.classroom / "submitted", [NAME])
    assert found.path.read_bytes() == b"new"
    assert not found.findings


def test_a_file_put_there_by_hand_is_kept_too(own: Course, tmp_path: Path) -> None:
    by_hand = own.classroom / "submitted" / "ada" / NAME / f"{NAME} (1).ipynb"
    by_hand.parent.mkdir(parents=True)
    by_hand.write_bytes(b"by hand")
    os.utime(by_hand, (1000, 1000))
    collect.collect(own, [zip_of(tmp_path / "x.zip", {f"ada/{FILE}": b"new"})])
    assert sorted(classroom(own).values())[1:] == [b"by hand", b"new"]
    assert not by_hand.exists()


def test_links_in_the_class_are_not_written_through(own: Course, tmp_path: Path) -> None:
    (own.classroom / "submitted").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (own.classroom / "submitted" / "ada").symlink_to(tmp_path / "elsewhere")
    done = collect.collect(own, [zip_of(tmp_path / "x.zip", {f"ada/{FILE}": b"1"})])
    assert done.taken == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- what could do harm ----------------------------------------------------------------------


def odd_zip(path: Path, mode: int) -> Path:
    zip_of(path, {f"ada/{FILE}": b"1"})
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("bob/odd.ipynb", T1)
        info.external_attr = (mode | 0o644) << 16
        archive.writestr(info, "/etc/passwd")
    return path


def twice_zip(path: Path) -> Path:
    data = zip_of(path, {f"ada/{FILE}": b"1", f"bob/{FILE}": b"2"}).read_bytes()
    path.write_bytes(data.replace(b"bob/", b"ada/"))
    return path


def locked_zip(path: Path) -> Path:
    data = bytearray(zip_of(path, {f"ada/{FILE}": b"1"}).read_bytes())
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        struct.pack_into("<H", data, data.index(mark) + at, 1)
    path.write_bytes(data)
    return path


def pax_bomb(path: Path) -> Path:
    """A header that asks for 10 GB of extended header, and gzip that would give it."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 10**10
    with gzip.open(path, "wb", 1) as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(30):
            file.write(bytes(10**7))
    return path


def link(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def hard(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.LNKTYPE, f"ada/{FILE}"


def device(info: tarfile.TarInfo) -> None:
    info.type = tarfile.CHRTYPE


def fifo(info: tarfile.TarInfo) -> None:
    info.type = tarfile.FIFOTYPE


ONE = {f"ada/{FILE}": b"1"}
HARMFUL: dict[str, tuple[Callable[[Path], Path], str]] = {
    "dots": (lambda p: zip_of(p, ONE | {f"../../{FILE}": b"2"}), "leads out of it"),
    "dots inside": (lambda p: zip_of(p, ONE | {f"x/../../{FILE}": b"2"}), "leads out of it"),
    "backslashes": (lambda p: zip_of(p, ONE | {"..\\..\\x.ipynb": b"2"}), "leads out of it"),
    "absolute": (lambda p: zip_of(p, ONE | {f"/tmp/{FILE}": b"2"}), "leads out of it"),
    "drive": (lambda p: zip_of(p, ONE | {f"C:/x/{FILE}": b"2"}), "leads out of it"),
    "dots in tar": (lambda p: tar_of(p, ONE | {f"../{FILE}": b"2"}), "leads out of it"),
    "link in zip": (lambda p: odd_zip(p, 0o120000), "is no plain file"),
    "device in zip": (lambda p: odd_zip(p, 0o020000), "is no plain file"),
    "link": (lambda p: tar_of(p, ONE, "w:gz", link), "is no plain file"),
    "hard link": (lambda p: tar_of(p, ONE, "w:gz", hard), "is no plain file"),
    "device": (lambda p: tar_of(p, ONE, "w:gz", device), "is no plain file"),
    "fifo": (lambda p: tar_of(p, ONE, "w:gz", fifo), "is no plain file"),
    "twice": (twice_zip, "stands in it twice"),
    "twice in tar": (lambda p: tar_of(p, ONE | {f"./ada/{FILE}": b"2"}), "stands in it twice"),
    "zip bomb": (lambda p: zip_of(p, ONE | {f"bob/{FILE}": bytes(50_000_000)}), "a bomb"),
    "gzip bomb": (lambda p: tar_of(p, ONE | {f"bob/{FILE}": bytes(50_000_000)}), "a bomb"),
    "pax bomb": (pax_bomb, "a bomb"),
    "many": (lambda p: zip_of(p, {f"s{i}/{FILE}": b"1" for i in range(2011)}), "more than 2000"),
    "many in tar": (lambda p: tar_of(p, {f"s{i}/{FILE}": b"1" for i in range(2001)}),
                    "more than 2000"),
    "password": (locked_zip, "has a password"),
    "cut off": (lambda p: p.write_bytes(zip_of(p, ONE).read_bytes()[:-30]) and p, "no zip, tar"),
    "cut off tar": (lambda p: p.write_bytes(tar_of(p, ONE).read_bytes()[:-30]) and p, "read"),
    "text": (lambda p: p.write_bytes(b"hello") and p, "no zip, tar"),
    "empty": (lambda p: p.write_bytes(b"") or p, "no zip, tar"),
    "nobody's": (lambda p: zip_of(p, {FILE: b"1"}), "the work of a student"),
}  # fmt: skip


@pytest.mark.parametrize("case", HARMFUL)
def test_a_harmful_archive_is_refused_whole_and_the_others_go_on(
    own: Course, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make, why = HARMFUL[case]
    bad = make(tmp_path / "bad")
    good = zip_of(tmp_path / "good.zip", {f"eve/{FILE}": b"good"})
    monkeypatch.chdir(own.root)
    before = {p for p in tmp_path.rglob("*") if "classroom" not in p.parts}
    assert cli.main(["collect", str(bad), str(good)]) == 1
    assert notebooks(own) == {"eve": b"good"}
    assert {p for p in tmp_path.rglob("*") if "classroom" not in p.parts} == before
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"REFUSED {bad}: ")
    assert why in line


def test_an_archive_in_an_archive_costs_its_own_student(own: Course, tmp_path: Path) -> None:
    inner = zip_of(tmp_path / "inner.zip", {FILE: b"2"}).read_bytes()
    done = collect.collect(own, [zip_of(tmp_path / "x.zip", {
        f"doejane_123_456_{FILE}": b"1", f"roejohn_124_457_{NAME}.zip": inner,
    })])  # fmt: skip
    assert notebooks(own) == {"doejane_123": b"1"}
    assert any("an archive in there is not opened" in what for what in whats(done))
    assert done.lost == 1


def test_a_large_file_costs_its_own_student(own: Course, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(collect, "MAX_BYTES", 10)
    for make in FORMS.values():
        done = collect.collect(
            own, [make(tmp_path, {f"ada/{FILE}": b"1", f"bob/{FILE}": b"x" * 11})]
        )
        assert set(notebooks(own)) == {"ada"}
        assert (done.refused, done.lost) == ([], 1)


def test_the_sum_of_files_is_bounded(own: Course, tmp_path: Path,
                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(collect, "MAX_ARCHIVE", 2000)
    files = {f"{s}/{FILE}": os.urandom(600) for s in "abcd"}
    (text,) = collect.collect(own, [zip_of(tmp_path / "x.zip", files)]).refused
    assert "MB" in text
    monkeypatch.setattr(collect, "MAX_MEMBERS", 3)
    assert collect.collect(own, [tar_of(tmp_path / "x.tar", files, "w:")]).refused


def test_links_in_a_folder_are_not_followed(own: Course, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "x", {f"ada/{FILE}": b"1"})
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / FILE).write_bytes(b"secret")
    (folder / "bob").mkdir()
    (folder / "bob" / FILE).symlink_to(tmp_path / "secret" / FILE)
    (folder / "eve").symlink_to(tmp_path / "secret")
    done = collect.collect(own, [folder])
    assert notebooks(own) == {"ada": b"1"}
    assert any("a link or a device" in what for what in whats(done))


def test_a_source_that_is_not_there(own: Course, tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="does not exist"):
        collect.collect(own, [tmp_path / "nowhere"])


def test_the_verb_prints_a_table(own: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                 capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(own.root)
    source = zip_of(tmp_path / "x.zip", {f"doejane_LATE_123_456_{FILE}": b"1"})
    assert cli.main(["collect", str(source), "--lab", "lab90"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split(maxsplit=3) == ["doejane_123", NAME, f"doejane_LATE_123_456_{FILE}",
                                        "taken (late, says Canvas)"]  # fmt: skip
    assert out[-1] == "1 taken to classroom/submitted."
