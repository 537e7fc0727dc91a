"""Bring what learning platforms give, archives or folders, into `classroom/submitted`.

source → members (bounded, plain files only) → student and lab by the file's path → the newest of
each → `STUDENT/LAB/LAB.ipynb`. Three forms of path are known:

    doejane_LATE_123_456_lab01.ipynb                   Canvas, "download submissions"
    Jane Doe_123_assignsubmission_file_/lab01.ipynb    Moodle, "download all submissions"
    STUDENT/lab01.ipynb, STUDENT/LAB/anything.ipynb    a folder or an archive packed by hand

The first two were read in the sources of both (`content_zipper.rb`, `downloader.php`), not tried in
a live one. An archive that could do harm (paths that leave it, links, devices, doubled names,
bombs, more than the bounds) is refused as a whole. A file that is too large, or an archive inside a
hand-in, costs its own student alone. Nothing is unpacked to disk but the notebooks that are taken;
whether they can be read is the business of `intake`. Times are those of the archive, never of a
student's own file. Canvas writes there when the teacher downloaded, and a folder's times are
anybody's: both tell which hand-in is newer, but are not recorded as the time of submission.
"""

import gzip
import io
import os
import re
import stat
import tarfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from autograder.course import Course, CourseError
from autograder.intake import MAX_BYTES, NOTEBOOK, notebooks, slugs

MAX_ARCHIVE, MAX_MEMBERS, MAX_RATIO, SMALL = 200_000_000, 2_000, 200, 1_000_000
ARCHIVE = re.compile(r"\.(zip|tar|tgz|tar\.(gz|bz2|xz)|gz|7z|rar)$", re.IGNORECASE)
CANVAS = re.compile(
    r"(?:(?P<who>\w+?)_(?P<late>LATE_)?(?P<id>\d+)|(?P<late2>LATE_)?(?P<anon>anon_[^\W_]+))"
    r"_(?P<file>\d+)_(?P<name>.+)"
)
MOODLE = re.compile(r"(?P<who>.+?)_assignsubmission_(?P<kind>file|onlinetext)_?(?P<name>.*)")
JUNK = re.compile(r"(^|/)(__MACOSX|\.[^/]*|~[^/]*|Thumbs\.db|desktop\.ini)(/|$)")


NO_NOTEBOOK, TOO_LARGE = "no notebook", f"larger than {MAX_BYTES // 1_000_000} MB"


class Refused(Exception):
    """An archive of which nothing is taken; the text says why."""


@dataclass
class Member:
    """A file in a source; `note` says why it cannot be taken."""

    path: str
    data: bytes | Path = field(repr=False)  # a file in a folder is read when it is taken
    time: float = 0.0  # 0: unknown
    note: str = ""

    @property
    def content(self) -> bytes:
        """Its bytes."""
        return self.data.read_bytes() if isinstance(self.data, Path) else self.data


@dataclass
class HandIn:
    """A file with its student; `note` says why it cannot be taken."""

    student: str
    lab: str
    member: Member
    order: tuple[float, ...] = ()  # the greatest is the newest
    note: str = ""
    late: bool = False
    timed: bool = True  # the member's time is that of the submission


@dataclass
class Collected:
    """What became of it all: rows (student, lab, file, what) and refused sources."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    taken: int = 0
    lost: int = 0  # files of students that a person must look at


def collect(course: Course, sources: list[Path], lab: str | None = None,
            into: Path | None = None) -> Collected:  # fmt: skip
    """Take the notebooks of all `sources`; of `lab` only, if one is given."""
    labs = course.all_labs()
    only = course.pick([lab])[0] if lab else None
    into = into or course.classroom / "submitted"
    done, found = Collected(), []
    for source in sources:
        if not source.exists():
            raise CourseError(f"{source} does not exist; name archives or folders to collect.")
        try:
            found += _hand_ins(source, labs, only)
        except Refused as error:
            done.refused.append(f"{source}: {error}")
    names = slugs(h.student for h in found)
    served = {h.student for h in found if not h.note}
    found = [h for h in found if h.note != NO_NOTEBOOK or h.student not in served]
    groups: dict[tuple[str, str], list[HandIn]] = defaultdict(list)
    for hand_in in found:
        groups[names[hand_in.student], hand_in.lab].append(hand_in)
    for (student, name), group in sorted(groups.items()):
        _settle(into, student, name, group, done)
    return done


# --- sources ---------------------------------------------------------------------------------


def _members(source: Path) -> list[Member]:
    """The files of a source; Refused if it holds anything that does not belong there."""
    if source.is_dir():
        return [m for m in _in_folder(source) if not JUNK.search(m.path)]
    try:
        found = list(_in_zip(source) if zipfile.is_zipfile(source) else _in_tar(source))
    except Refused:
        raise
    except Exception as error:  # whatever the readers of archives raise for a broken one
        raise Refused(f"it cannot be read ({type(error).__name__})") from None
    paths = [m.path for m in found]
    if len(set(paths)) < len(paths):
        twice = next(p for p in paths if paths.count(p) > 1)
        raise Refused(f"{twice!r} stands in it twice")
    return [m for m in found if not JUNK.search(m.path)]


def _check(name: str) -> str:
    """The path of a member, if it is harmless."""
    path = name.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or re.match("[A-Za-z]:", path):
        raise Refused(f"the path {name!r} leads out of it")
    return path.removeprefix("./")


def _in_folder(source: Path) -> Iterator[Member]:
    """All files below a folder. A link or a huge file costs its student alone."""
    for folder, inner, names in os.walk(source):
        inner.sort()
        for name in sorted([*names, *(n for n in inner if Path(folder, n).is_symlink())]):
            path = Path(folder, name)
            info, note = path.lstat(), ""
            if not stat.S_ISREG(info.st_mode):
                note = "a link or a device, which is not followed"
            elif info.st_size > MAX_BYTES:
                note = TOO_LARGE
            yield Member(path.relative_to(source).as_posix(), path, info.st_mtime, note)


def _in_zip(source: Path) -> Iterator[Member]:
    if source.stat().st_size > MAX_ARCHIVE:
        raise Refused(f"it is larger than {MAX_ARCHIVE // 1_000_000} MB")
    if source.read_bytes().count(b"PK\1\2") > MAX_MEMBERS + 10:  # before the list is built
        raise Refused(f"it holds more than {MAX_MEMBERS} files")
    with zipfile.ZipFile(source) as archive:
        infos = archive.infolist()
        for info in infos:  # all of them before the first is read
            kind = stat.S_IFMT(info.external_attr >> 16)
            _check(info.filename)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"{info.filename!r} is no plain file")
            if info.flag_bits & 1:
                raise Refused("it has a password")
            if info.file_size > max(SMALL, MAX_RATIO * info.compress_size):
                raise Refused(f"{info.filename!r} is packed too tightly: a bomb")
        if len(infos) > MAX_MEMBERS:
            raise Refused(f"it holds more than {MAX_MEMBERS} files")
        if sum(info.file_size for info in infos) > MAX_ARCHIVE:
            raise Refused(f"it holds more than {MAX_ARCHIVE // 1_000_000} MB")
        for info in (i for i in infos if not i.is_dir()):
            fits = info.file_size <= MAX_BYTES
            data = archive.read(info) if fits and NOTEBOOK.search(info.filename) else b""
            note = "" if fits else TOO_LARGE
            yield Member(_check(info.filename), data, _zip_time(info), note)


def _zip_time(info: zipfile.ZipInfo) -> float:
    """The time in this machine's zone; 1980 is what packers write who know none."""
    try:
        return datetime(*info.date_time).timestamp() if info.date_time[0] > 1980 else 0.0
    except (ValueError, OverflowError, OSError):
        return 0.0


def _in_tar(source: Path) -> Iterator[Member]:
    """A tar, plain or gzipped, read as a stream and never further than the bounds."""
    with source.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        most = MAX_RATIO * source.stat().st_size if packed else MAX_ARCHIVE
        most = min(MAX_ARCHIVE, max(SMALL, most)) + MAX_MEMBERS * 2048
        stream = _Bounded(gzip.GzipFile(fileobj=file) if packed else file, most)
        try:
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for count, info in enumerate(archive, 1):
                    if count > MAX_MEMBERS:
                        raise Refused(f"it holds more than {MAX_MEMBERS} files")
                    path, fits = _check(info.name), info.size <= MAX_BYTES
                    if not (info.isreg() or info.isdir()) or info.issparse():
                        raise Refused(f"{info.name!r} is no plain file")
                    wanted = info.isreg() and fits and NOTEBOOK.search(path)
                    data = archive.extractfile(info).read() if wanted else b""
                    if info.isreg():
                        note = "" if fits else TOO_LARGE
                        yield Member(path, data, max(info.mtime, 0.0), note)
        except tarfile.ReadError:
            raise Refused("it is no zip, tar or tar.gz, or not whole") from None


class _Bounded(io.RawIOBase):
    """A stream that ends in Refused after so many bytes, whatever headers ask for."""

    def __init__(self, inner: io.BufferedIOBase, most: int) -> None:
        self.inner, self.left = inner, most

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most what is left."""
        data = self.inner.read(min(size, self.left + 1) if size >= 0 else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise Refused("it unpacks to too much: a bomb")
        return data


# --- whose is it -----------------------------------------------------------------------------


def _hand_ins(source: Path, labs: list[str], only: str | None) -> list[HandIn]:
    members = _members(source)
    around = _around(members, labs)
    found = [h for m in members if (h := _hand_in(m, labs, only, source, around))]
    if not found:
        what = f" for {only}" if only else ""
        raise Refused(f"no file in it is the work of a student{what}, going by the paths")
    return found


def _hand_in(member: Member, labs: list[str], only: str | None, source: Path,
             around: int) -> HandIn | None:  # fmt: skip
    """The member with its student and lab; None if it is nobody's or another lab's."""
    *folders, name = member.path.split("/")
    people = [f for f in folders if f not in labs][around:]
    canvas, moodle = CANVAS.fullmatch(name), [m for p in (*folders, name)
                                              if (m := MOODLE.fullmatch(p))]  # fmt: skip
    late, number = False, 0
    if moodle:
        if moodle[0]["kind"] == "onlinetext":
            return None
        student, name = moodle[0]["who"], moodle[0]["name"] or name
    elif canvas:
        student = canvas["anon"] or f"{canvas['who']}_{canvas['id']}"
        late, number = bool(canvas["late"] or canvas["late2"]), int(canvas["file"])
        name = canvas["name"]
    elif people:
        student = people[0]
    else:
        return None
    lab = next((f for f in folders if f in labs), None) or _lab_of(name, labs)
    lab = lab or only or _lab_of(source.name, labs) or ""
    if only and lab != only:
        return None
    note = member.note or ("" if lab else "which lab? say it with --lab")
    if ARCHIVE.search(name):
        note = "an archive in there is not opened; unpack it and collect the folder"
    elif not NOTEBOOK.search(name):
        note = NO_NOTEBOOK
    timed = member.time > 0 and not canvas and not source.is_dir()
    return HandIn(student, lab, member, (number, member.time), note, late, timed)


def _around(members: list[Member], labs: list[str]) -> int:
    """1 if a folder stands around everybody's folders, as in submissions/ada/lab01.ipynb."""
    folders = [[f for f in m.path.split("/")[:-1] if f not in labs]
               for m in members if NOTEBOOK.search(m.path)]  # fmt: skip
    return int(all(len(f) > 1 for f in folders) and len({f[0] for f in folders}) == 1)


def _lab_of(name: str, labs: list[str]) -> str | None:
    """The lab that a file's name tells: its whole name, or its number as in lab01 or Lab 1."""
    plain = re.sub(r"[\W_]+", "_", name.casefold())
    fits = [lab for lab in labs if lab.casefold() in plain]
    number = re.search(r"(?<![a-z])lab_?0*(\d{1,2})(?!\d)", plain)
    if not fits and number:
        fits = [lab for lab in labs if re.match(rf"lab0*{number[1]}(?!\d)", lab)]
    return max(fits, key=len) if fits else None


# --- into the class --------------------------------------------------------------------------


def _settle(into: Path, student: str, lab: str, group: list[HandIn], done: Collected) -> None:
    """Take the newest notebook of one student and lab, and say what is done with the rest."""
    named = [h for h in group if lab and lab.casefold() in h.member.path.split("/")[-1].casefold()]
    good = sorted((h for h in named or group if not h.note), key=lambda h: h.order)
    good = good or sorted((h for h in group if not h.note), key=lambda h: h.order)
    for hand_in in group:
        what = hand_in.note and f"skipped: {hand_in.note}"
        if good and hand_in is good[-1]:
            what = _put(into / student / lab, hand_in)
            done.taken += what.startswith("taken")
        what = what or "skipped: another file of theirs is newer or has the lab's name"
        what += " (late, says Canvas)" if hand_in.late else ""
        done.rows.append((student, lab or "?", _printable(hand_in.member.path)[-60:], what))
    done.lost += not good


def _printable(path: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in path)


def _put(folder: Path, hand_in: HandIn) -> str:
    """Write one notebook; what it replaces goes to `attempts/`. An older one replaces nothing."""
    if any(p.is_symlink() or (p.exists() and not p.is_dir()) for p in (folder, folder.parent)):
        return "skipped: what is there in the class is a link or no folder"
    when = min(hand_in.member.time or time.time(), time.time())
    there = notebooks(folder.iterdir(), folder.name) if folder.is_dir() else []
    data = hand_in.member.content
    if there and there[-1].read_bytes() == data:
        return "there already"
    if there and there[-1].stat().st_mtime > when:
        return "skipped: what is there is newer"
    (folder / "attempts" if there else folder).mkdir(parents=True, exist_ok=True)
    path = folder / f"{folder.name}.ipynb"
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(data)
    os.utime(draft, (when, when))
    for old in there:
        _keep(old, folder / "attempts")
    stamp = folder / "timestamp.txt"
    stamp.unlink(missing_ok=True)
    if hand_in.timed:
        text = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M:%S UTC\n")
        stamp.write_text(text, encoding="utf-8")
    os.replace(draft, path)
    return "taken; the earlier one is in attempts/" if there else "taken"


def _keep(path: Path, attempts: Path) -> None:
    """Move a notebook to a name that tells its time and is free."""
    stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    target, number = attempts / f"{stamp}.ipynb", 2
    while target.exists():
        target, number = attempts / f"{stamp}-{number}.ipynb", number + 1
    os.replace(path, target)
