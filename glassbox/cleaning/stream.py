"""A corpus of any size through your own functions, chunk by chunk, and on after a break.

    record = run(rows, [("text", extract_text), ("rules", gopher_rules)], "cleaned", workers=2)
    for row in kept("cleaned"): ...

A stage takes a text and gives a text (it goes on), None or False (the row is dropped), True (it
stays as it is), or a dict rule -> passed (it stays if all are True). With `signature`, a function
from a text to its MinHash, near duplicates over the whole corpus are dropped at the end.

Each chunk leaves its rows and its counts in the folder, the counts last, each under its final name
only when complete. Whatever instant a run ends at, the same call goes on with the chunks that are
not there; no row is lost or written twice. In memory are two chunks per worker, and for duplicates
4 bytes per band and 8 more per row; signatures stay on the disk. Several workers need a system that
can fork (Linux, Colab), because functions of a notebook cannot be sent elsewhere.
"""

import json
import os
import signal
import sys
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import count, islice
from multiprocessing import get_all_start_methods, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from glassbox.cleaning.duplicates import band_keys, groups_by_key

Row = dict[str, str]
Verdict = str | bool | None | Mapping[str, bool]
Stages = Sequence[tuple[str, Callable[[str], Verdict]]]
Source = Iterable[Row] | Callable[[int], Iterable[Row]]


class StageError(RuntimeError):
    """A stage failed; the message names the stage and the row."""


def run(
    rows: Source, stages: Stages, folder: str | Path, workers: int = 1, chunk: int = 2000, *,
    signature: Callable[[str], Any] | None = None, bands: int = 16, threshold: float = 0.7,
    total: int | None = None, progress: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Clean the rows into the folder; returns what `run_record.json` there says afterwards.

    `rows` is any iterable of dicts with a key text: a list, a generator that gives the same rows
    every time, a `datasets` set, plain or streaming. With a function start -> rows from there, as
    `lambda start: planted_stream(0, 1_000_000, start)`, no row is made again after a break.

    Raises ValueError where the folder belongs to another run, and StageError where a stage fails. A
    stage that was changed is another run, as far as its own code shows; not what it calls.
    `threshold` is compared with the share of equal entries of two signatures.
    """
    folder = Path(folder)
    (folder / "chunks").mkdir(parents=True, exist_ok=True)
    settings = {
        "stages": [name for name, _ in stages],
        "chunk": chunk,
        "code": [_code(function) for _, function in stages],
        "signature": _code(signature),
    }
    _same_run(folder, settings, rows)
    work = partial(_work, folder=folder, stages=tuple(stages), signature=signature)
    bar = tqdm(total=total, unit=" rows", disable=not progress)
    with bar:
        for counts in _counted(_todo(rows, folder, chunk, bar), work, workers):
            bar.update(counts["rows"])
    record = _summed(folder, settings)
    if signature is not None:
        gone = _duplicates(folder, bands, threshold)
        size = sum(len(row["text"].encode("utf-8", "surrogatepass")) for row in kept(folder))
        last = {"stage": "duplicates", "documents": record["kept"] - len(gone), "bytes": size,
                "dropped": len(gone), "changed": 0}  # fmt: skip
        record = record | {"stages": [*record["stages"], last], "kept": last["documents"]}
    _write(folder / "run_record.json", json.dumps(record, indent=2) + "\n")
    return record


def kept(folder: str | Path) -> Iterator[Row]:
    """The rows that are left, in order, one at a time."""
    folder, number = Path(folder), count()
    file = folder / "duplicates.npy"
    gone = set(np.load(file).tolist()) if file.exists() else set()
    for path in sorted((folder / "chunks").glob("*.jsonl")):
        with path.open(encoding="utf-8", errors="surrogatepass") as lines:
            yield from (json.loads(line) for line in lines if next(number) not in gone)


# --- chunks --------------------------------------------------------------------------------------


def _todo(rows: Source, folder: Path, chunk: int, bar: tqdm) -> Iterator[tuple[int, list[Row]]]:
    """The chunks that are not done, with their numbers; tells the bar of the others."""
    number, size = 0, chunk
    while (file := _name(folder, number, "json")).exists():
        size = json.loads(file.read_text("utf-8"))["rows"]
        bar.update(size)
        number += 1
    stream = iter(_from(rows, number * chunk))
    while part := list(islice(stream, chunk)):
        if size < chunk:
            raise ValueError(f"{folder} holds a run over fewer rows. Choose another folder.")
        if _name(folder, number, "json").exists():  # finished by another worker before the break
            bar.update(len(part))
        else:
            yield number, part
        number += 1


def _from(rows: Source, start: int) -> Iterable[Row]:
    """The rows from number `start` on, by the cheapest way that the source offers."""
    if callable(rows):
        return rows(start)
    if hasattr(rows, "skip"):  # datasets
        return rows.skip(start) if start else rows
    if isinstance(rows, Sequence):
        return (rows[i] for i in range(start, len(rows)))
    return islice(rows, start, None)


def _counted(
    todo: Iterator[tuple[int, list[Row]]], work: Callable[..., dict[str, Any]], workers: int
) -> Iterator[dict[str, Any]]:
    """The counts of each chunk as it is done; at most two chunks per worker are held."""
    if workers == 1 or "fork" not in get_all_start_methods():
        yield from (work(*item) for item in todo)
        return
    global _inherited
    _inherited = work  # by fork, so that functions of a notebook need not be sent
    pool = ProcessPoolExecutor(workers, mp_context=get_context("fork"), initializer=_begin)
    waiting: deque[Future[dict[str, Any]]] = deque()
    try:
        for item in todo:
            with warnings.catch_warnings():  # Python 3.12 warns of any fork beside threads
                warnings.simplefilter("ignore", DeprecationWarning)
                waiting.append(pool.submit(_one, *item))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise RuntimeError(
            "A worker process was ended from outside, often for want of memory. What is done is "
            "kept; the same call goes on. Fewer workers or a smaller chunk need less."
        ) from None
    finally:
        _inherited = None
        pool.shutdown(wait=True, cancel_futures=True)


_inherited: Callable[..., dict[str, Any]] | None = None


def _begin() -> None:
    """In a new worker: Ctrl-C is the parent's business; one thread; no life without the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _end_with_parent() -> None:
    wait([parent_process().sentinel])
    os._exit(1)


def _one(number: int, rows: list[Row]) -> dict[str, Any]:
    return _inherited(number, rows)


def _work(
    number: int, rows: list[Row], folder: Path, stages: Stages,
    signature: Callable[[str], Any] | None,
) -> dict[str, Any]:  # fmt: skip
    """One chunk through all stages; its files; its counts."""
    counts = {"rows": len(rows), "first": _check(rows[0]), "raw": _bytes(rows), "stages": []}
    for name, function in stages:
        after, changed = [], 0
        for row in rows:
            text = _after(name, function, row)
            if text is not None:
                changed += text != row["text"]
                after.append({**row, "text": text})
        line = {"documents": len(after), "bytes": _bytes(after), "changed": changed}
        counts["stages"].append({"stage": name, "dropped": len(rows) - len(after), **line})
        rows = after
    if signature is not None:
        columns = [np.asarray(_tried("signature", signature, row)) for row in rows]
        table = np.stack(columns) if columns else np.zeros((0, 0), dtype=np.uint32)
        _write(_name(folder, number, "npy"), _small(table))
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    _write(_name(folder, number, "jsonl"), lines)
    _write(_name(folder, number, "json"), json.dumps(counts))  # last: the chunk is done
    return counts


def _after(name: str, function: Callable[[str], Verdict], row: Row) -> str | None:
    """The row's text after a stage, None if it was dropped."""
    verdict = _tried(name, function, row)
    if isinstance(verdict, str):
        return verdict
    if isinstance(verdict, Mapping):
        verdict = all(verdict.values())
    if verdict is not None and not isinstance(verdict, bool | np.bool_):
        raise StageError(
            f"Stage {name!r} gave {type(verdict).__name__} for row {row.get('id', '?')!r}; it "
            "should give a text, True, False, None, or a dict of rules."
        )
    return row["text"] if verdict else None


def _tried(name: str, function: Callable[[str], Any], row: Row) -> Any:
    try:
        return function(row["text"])
    except Exception as error:
        raise StageError(
            f"Stage {name!r} failed on row {row.get('id', '?')!r}: {type(error).__name__}: {error}"
        ) from error


# --- the whole -----------------------------------------------------------------------------------


def _same_run(folder: Path, settings: dict[str, Any], rows: Source) -> None:
    """Note the settings, or see that those of an earlier run are the same, and its first row."""
    file = folder / "settings.json"
    if not file.exists():
        _write(file, json.dumps(settings))
    elif json.loads(file.read_text("utf-8")) != settings:
        raise ValueError(
            f"{folder} holds a run with other stages or chunks. Choose another folder, or delete "
            "this one if you have changed a function."
        )
    first = _name(folder, 0, "json")
    if first.exists() and not isinstance(rows, Iterator):
        row = next(iter(_from(rows, 0)), None)
        if row is None or _check(row) != json.loads(first.read_text("utf-8"))["first"]:
            raise ValueError(f"{folder} holds a run over other rows. Choose another folder.")


def _code(function: Callable | None) -> int | None:
    """A number that changes with the code of a function written in Python; 0 for others."""
    if function is None:
        return None
    code = getattr(getattr(function, "func", function), "__code__", None)
    return zlib.crc32(repr(_parts(code)).encode("utf-8", "replace")) if code else 0


def _parts(code: CodeType) -> list[Any]:
    """What a function does: instructions, names, constants; nothing that changes with a process."""
    known = [_parts(c) if isinstance(c, CodeType) else sorted(map(repr, c))
             if isinstance(c, frozenset) else repr(c) for c in code.co_consts]  # fmt: skip
    return [code.co_code, code.co_names, code.co_varnames, known]


def _summed(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The record: counts of all chunks added up."""
    total: dict[str, Any] = {"rows": 0, "bytes": 0}
    lines = [{"stage": name, "documents": 0, "bytes": 0, "dropped": 0, "changed": 0}
             for name in settings["stages"]]  # fmt: skip
    for file in sorted((folder / "chunks").glob("*.json")):
        counts = json.loads(file.read_text("utf-8"))
        total["rows"] += counts["rows"]
        total["bytes"] += counts["raw"]
        for line, more in zip(lines, counts["stages"], strict=True):
            for key in ("documents", "bytes", "dropped", "changed"):
                line[key] += more[key]
    return total | {"stages": lines, "kept": lines[-1]["documents"] if lines else total["rows"]}


def _duplicates(folder: Path, bands: int, threshold: float) -> NDArray[np.int64]:
    """The numbers of kept rows that are near duplicates of an earlier one; also into the folder."""
    files = sorted((folder / "chunks").glob("*.npy"))
    tables = [table for file in files if len(table := np.load(file, mmap_mode="r"))]
    starts = np.cumsum([0, *map(len, tables)])
    keys = [band_keys(np.asarray(table), bands) for table in tables]

    def rows(numbers: NDArray[np.int64]) -> NDArray:
        out = np.empty((len(numbers), tables[0].shape[1]), tables[0].dtype)
        which = np.searchsorted(starts, numbers, "right") - 1
        for i in np.unique(which):
            out[which == i] = tables[i][numbers[which == i] - starts[i]]
        return out

    group = np.zeros(0, dtype=np.int64)
    if keys:
        group = groups_by_key(
            np.concatenate(keys), lambda a, b: (rows(a) == rows(b)).mean(1) >= threshold - 1e-9
        )
    gone = np.flatnonzero(group != np.arange(len(group)))
    part = folder / "duplicates.part.npy"
    np.save(part, gone)
    os.replace(part, folder / "duplicates.npy")
    return gone


# --- files ---------------------------------------------------------------------------------------


def _name(folder: Path, number: int, ending: str) -> Path:
    return folder / "chunks" / f"{number:08d}.{ending}"


def _write(path: Path, content: str | NDArray) -> None:
    """A file that is there whole or not at all."""
    part = path.with_name(path.name + ".part")
    if isinstance(content, str):
        part.write_text(content, encoding="utf-8", errors="surrogatepass", newline="\n")
    else:
        with part.open("wb") as out:
            np.save(out, content)
    os.replace(part, path)


def _bytes(rows: list[Row]) -> int:
    return sum(len(row["text"].encode("utf-8", "surrogatepass")) for row in rows)


def _check(row: Row) -> int:
    return zlib.crc32(json.dumps(row, sort_keys=True).encode())


def _small(table: NDArray) -> NDArray:
    """The table in 4 bytes an entry where its numbers allow it."""
    fits = table.size == 0 or (table.min() >= 0 and table.max() < 1 << 32)
    return table.astype(np.uint32) if fits else table.astype(np.int64)
