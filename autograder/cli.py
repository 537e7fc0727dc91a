"""The command `autograder`: one verb for each thing a teacher does.

This module reads arguments, calls the module that does the work and prints what came of it. A
CourseError becomes one line and exit code 2; exit code 1 says that something was found: a lab that
differs, a test that lets a mistake pass, a submission that could not be graded.
"""

import argparse
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.course import Course, CourseError, find_course

if TYPE_CHECKING:
    from autograder.grade import Summary

# nbformat → jsonschema → a grammar whose compilation takes seconds at every start, and which only
# checks international web addresses. Without it jsonschema leaves that check out.
sys.modules.setdefault("rfc3987_syntax", None)


def main(argv: list[str] | None = None) -> int:
    """Run one verb; give the exit code."""
    args = _parser().parse_args(argv)
    try:
        return args.do(find_course(), args)
    except CourseError as error:
        print(f"autograder: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print("autograder: the disk is full. What is done is kept; make room and run it again.",
              file=sys.stderr)  # fmt: skip
        return 2
    except KeyboardInterrupt:
        print("\nautograder: stopped; what is done is kept, run it again to go on.",
              file=sys.stderr)  # fmt: skip
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="autograder", description="Build labs, grade a class.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, do: Callable[[Course, argparse.Namespace], int], text: str,
             labs: bool = True) -> argparse.ArgumentParser:  # fmt: skip
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(do=do)
        if labs:
            sub.add_argument("labs", nargs="*", metavar="LAB", help="e.g. lab01; default: all")
        return sub

    def workers(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--submissions", type=Path, metavar="DIR", help="DIR/STUDENT/LAB/"
                         "LAB.ipynb; default: classroom/submitted")  # fmt: skip
        sub.add_argument("--workers", type=int, metavar="N", help="default: one per core")
        sub.add_argument("--dask", metavar="ADDRESS", help="grade on the workers of this dask "
                         "scheduler, e.g. tcp://10.0.0.5:8786")  # fmt: skip
        sub.add_argument("--student", metavar="NAME", help="this student only")
        sub.add_argument("--unsafe-no-sandbox", action="store_true", help="run student code even "
                         "where it cannot be isolated: it can do what you can")  # fmt: skip

    sub = verb("build", _build, "build the released labs from their sources")
    sub.add_argument("--check", action="store_true", help="change nothing; exit 1 if labs differ")
    sub = verb("collect", _collect, "bring hand-ins from archives or folders to "
               "classroom/submitted", labs=False)  # fmt: skip
    sub.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="a zip from Canvas or "
                     "Moodle; a zip, tar, tar.gz or folder of STUDENT/LAB.ipynb")  # fmt: skip
    sub.add_argument("--lab", help="take this lab only, and files whose name tells no lab as it")
    sub.add_argument("--submissions", type=Path, metavar="DIR", help="default: classroom/submitted")
    sub = verb("grade", _grade, "grade submissions into the gradebook and classroom/results")
    workers(sub)
    sub.add_argument("--force", action="store_true", help="grade again what has a result")
    sub.add_argument("--shard", metavar="I/N", help="grade this part of the class only, into files "
                     "that merge reads")  # fmt: skip
    sub.add_argument("--out", type=Path, metavar="DIR", help="where a shard's files go; "
                     "default: classroom/shards/I-of-N")  # fmt: skip
    sub = verb("regrade", _regrade, "grade one question of a lab again after its tests were "
               "mended; all other marks stay", labs=False)  # fmt: skip
    sub.add_argument("lab", metavar="LAB", help="e.g. lab01")
    sub.add_argument("--question", required=True, metavar="NAME", help="e.g. attention")
    sub.add_argument("--check", action="store_true", help="change nothing; show what would change")
    workers(sub)
    sub = verb("merge", _merge, "enter the files of graded shards into the gradebook", labs=False)
    sub.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    sub.add_argument("--submissions", type=Path, metavar="DIR", help="what the shards graded; "
                     "default: classroom/submitted")  # fmt: skip
    sub.add_argument("--force", action="store_true", help="replace marks that differ")
    sub = verb("feedback", _feedback, "write a page per student and lab to classroom/feedback")
    sub.add_argument("--student", metavar="NAME", help="this student only")
    sub = verb("export", _export, "write the marks to classroom/results, for Canvas or Moodle too")
    sub.add_argument("--format", default="csv", choices=["csv", "canvas", "moodle"])
    sub.add_argument("--include-waiting", action="store_true", help="canvas, moodle: also totals "
                     "in which an answer still waits for a person")  # fmt: skip
    verb("report", _report, "write a page per lab on how the class did to classroom/report")
    sub = verb("audit", _audit, "try the tests of labs against known right and wrong answers")
    sub.add_argument("--json", action="store_true", help="print JSON in place of a table")
    sub.add_argument("--quick", action="store_true", help="every third of the changed solutions, "
                     "every third wrong version judged")  # fmt: skip
    verb("doctor", _doctor, "say what this machine can do and what is missing", labs=False)
    sub = verb("serve", _serve, "show the book and formgrader on this machine", labs=False)
    sub.add_argument("--port", type=int, default=8080, help="of the book; formgrader has the next")
    verb("handout", _handout, "pack labs, glassbox and book for students", labs=False)
    sub = verb("sample", _sample, "hand in the work of a small made-up class, to try things out")
    sub.add_argument("--submissions", type=Path, metavar="DIR", help="default: classroom/submitted")
    return parser


def _near(path: Path) -> Path:
    """The path as a person in the current folder would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _build(course: Course, args: argparse.Namespace) -> int:
    from autograder.build import build

    changed = build(course, course.pick(args.labs), args.check)
    for path in changed:
        print(("differs: " if args.check else "written: ") + str(_near(Path(path))))
    print(f"{len(changed)} files {'differ' if args.check else 'written'}.")
    return int(args.check and bool(changed))


def _collect(course: Course, args: argparse.Namespace) -> int:
    from autograder.collect import collect

    done = collect(course, args.sources, args.lab, args.submissions)
    if done.rows:
        _print_table([["student", "lab", "file", ""], *map(list, done.rows)])
    print(f"{done.taken} taken to {_near(args.submissions or course.classroom / 'submitted')}.")
    for text in done.refused:
        print(f"REFUSED {text}", file=sys.stderr)
    if done.lost:
        print(f"{done.lost} hand-ins could not be taken; the table says why.", file=sys.stderr)
    return int(bool(done.refused or done.lost))


def _grade(course: Course, args: argparse.Namespace) -> int:
    from autograder.grade import grade, grade_shard
    from autograder.shard import Shard

    if args.out and not args.shard:
        raise CourseError("--out is for --shard; results of a whole class go to classroom/results.")
    if args.dask and args.shard:
        raise CourseError("--dask and --shard are two ways to use more machines; take one.")
    names, how = course.pick(args.labs), _how(args) | {"force": args.force}
    if not args.shard:
        return _tell(course, grade(course, names, **how), names, "graded now")
    shard = Shard.parse(args.shard)
    out = args.out or course.classroom / "shards" / f"{shard.index}-of-{shard.count}"
    done = grade_shard(course, names, shard, out, **how)
    print(f"Shard {args.shard}: {done.graded} graded now, {done.kept} had their result. "
          f"Next, when all shards are done: autograder merge {_near(out)} …")  # fmt: skip
    return _warn(done, out)


def _how(args: argparse.Namespace) -> dict[str, Any]:
    """What grade and regrade have in common."""
    if args.workers is not None and args.workers < 1:
        raise CourseError("--workers must be at least 1.")
    if args.workers and args.dask:
        raise CourseError("--workers is for this machine; a dask cluster has its own.")
    return {"folder": args.submissions, "workers": args.workers, "student": args.student,
            "unsafe": args.unsafe_no_sandbox, "dask": args.dask}  # fmt: skip


def _regrade(course: Course, args: argparse.Namespace) -> int:
    from autograder.grade import regrade

    (lab,) = course.pick([args.lab])
    done = regrade(course, lab, args.question, check=args.check, **_how(args))
    if done.changes:
        _print_changes(done)
    would = "would change" if args.check else "changed"
    print(f"{len(done.changes)} of {done.graded} marks of {args.question} {would}.")
    _name_changes(done)
    if done.left:
        some = ", ".join(done.left[:5]) + (" …" if done.left[5:] else "")
        print(f"{len(done.left)} left alone, since what they handed in has no marks yet: {some}. "
              "Type: autograder grade")  # fmt: skip
    return _warn(done, course.classroom / "results")


def _print_changes(done: "Summary") -> None:
    rows = [[c.student, c.question, f"{c.points_before:g} ({c.status_before})", "→",
             f"{c.points:g} ({c.status})"] for c in done.changes]  # fmt: skip
    _print_table([["student", "question", "before", "", "now"], *rows])


def _name_changes(done: "Summary") -> None:
    if done.changes_table:
        print(f"{len(done.changes)} marks are not what they were, though nothing new was handed "
              f"in: {_near(done.changes_table)}")  # fmt: skip


def _merge(course: Course, args: argparse.Namespace) -> int:
    from autograder.merge import merge

    done = merge(course, args.folders, args.submissions, args.force)
    code = _tell(course, done, course.all_labs(), "entered now")
    for text in done.refused:
        print(f"REFUSED {text}", file=sys.stderr)
    return int(bool(code or done.refused))


def _tell(course: Course, done: "Summary", names: list[str], what: str) -> int:
    """Print the class and what was done; give the exit code."""
    from autograder.grade import overview

    _print_table(overview(course, names))
    print(f"\n{done.graded} {what}, {done.kept} had their result. Marks: {_near(done.table)}")
    _name_changes(done)
    if done.waiting:
        print(f"{done.waiting} written answers wait for you; type: autograder serve")
    return _warn(done, course.classroom / "results")


def _warn(done: "Summary", notes: Path) -> int:
    if done.tier == "none":
        print("Student code was NOT isolated from this machine; autograder doctor says why.",
              file=sys.stderr)  # fmt: skip
    for name in done.ungraded:
        print(f"UNGRADED {name}: a fault of the grader, not a mark of 0; see the notes in "
              f"{_near(notes)} and run grade again.", file=sys.stderr)  # fmt: skip
    return int(bool(done.ungraded))


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip())


def _feedback(course: Course, args: argparse.Namespace) -> int:
    from autograder.feedback import feedback

    written, failed = feedback(course, course.pick(args.labs), args.student)
    print(f"{len(written)} pages in {_near(course.classroom / 'feedback')}.")
    for name, why in failed.items():
        print(f"NO PAGE for {name}:\n{why}", file=sys.stderr)
    return int(bool(failed))


def _export(course: Course, args: argparse.Namespace) -> int:
    from autograder.export import export

    done = export(course, course.pick(args.labs), args.format, args.include_waiting)
    print(f"Marks: {_near(done.path)}")
    for note in done.notes:
        print(note)
    return 0


def _report(course: Course, args: argparse.Namespace) -> int:
    from autograder.report import report

    for path in report(course, args.labs):
        print(f"The class: {_near(path)}")
    return 0


def _audit(course: Course, args: argparse.Namespace) -> int:
    from autograder import audit

    return audit.main(course, course.pick(args.labs), args.json, args.quick)


def _doctor(course: Course, args: argparse.Namespace) -> int:
    from autograder.doctor import doctor

    findings = doctor(course)
    for finding in findings:
        print(finding)
    return int(any(f.needed and not f.ok for f in findings))


def _serve(course: Course, args: argparse.Namespace) -> int:
    from autograder.serve import serve

    serve(course, args.port)
    return 0


def _sample(course: Course, args: argparse.Namespace) -> int:
    from autograder.sample import write_class

    folder = args.submissions or course.classroom / "submitted"
    for lab in course.pick(args.labs):
        students = write_class(course, lab, folder)
        print(f"{lab}: {len(students)} students in {_near(folder)}: {', '.join(students)}")
    return 0


def _handout(course: Course, args: argparse.Namespace) -> int:
    from autograder.handout import handout

    print(f"To hand out: {_near(handout(course))}")
    return 0
