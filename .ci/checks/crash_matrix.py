#!/usr/bin/env python3
"""Kills one pass, and makes one of its system calls fail, at every write, fsync and rename.

Usage: crash_matrix.py BINARY

Each cell of the matrix is a small project of its own, and one `watch --once` on it under strace,
which disturbs the N-th call of one kind. A pass that nobody disturbs follows, and then the
documents must equal those of a life without any disturbance, times masked. N grows until a pass
ends unharmed.

strace counts the calls of each thread for itself, so there are three ways to disturb:
  start   every thread from the program's first instruction on, with a log that lacks the run's row;
  begun   the same with the row of a training that was begun and becomes the run's, and with the
          report of an evaluation, whose scores go into that row and a row of their own;
  record  the thread that owns journal and documents, from the moment on at which the analysis is
          about to end, with a log that holds an empty row of the run.
"""

import concurrent.futures
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import small_project
from outcome import Wrong, end_of_matrix
from small_project import REGISTRY, make_project

KILLED_AT = ["pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat2", "unlink", "linkat"]
# What other threads write are log lines and wake-ups; they and the analysis' own are left alone.
CALLS = {"start": KILLED_AT, "begun": KILLED_AT, "record": ["write", *KILLED_AT]}
WAYS = {"KILL": "signal=KILL", "ENOSPC": "error=ENOSPC", "EIO": "error=EIO"}
# A pass mostly waits: it looks once more, two seconds after it wrote.
AT_ONCE = 20
FIRST_BATCH = 4
PASS_LIMIT = 60
STARTED = datetime.date.today()
MOST_CALLS = 400


def masked(text):
    """Returns a text without the times, and without the day, for a matrix may run into the next one."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d", "<time>", text)
    for day in (STARTED, STARTED + datetime.timedelta(days=1)):
        for form in ("%Y-%m-%d", "%Y%m%d"):
            text = text.replace(day.strftime(form), "<day>")
    return text


def documents(root):
    """Returns every file of the registry, also hidden ones, with times and days masked."""
    found = {}
    for path in sorted((root / REGISTRY).rglob("*")):
        if path.is_file():
            found[masked(str(path.relative_to(root / REGISTRY)))] = masked(path.read_text())
    return found


def command(binary, root):
    return [binary, "watch", "--once", "--root", str(root)]


def environment():
    return {"PATH": os.environ["PATH"], "NO_COLOR": "1"}


def undisturbed(binary, root):
    (root / "fake/go").touch()
    with open(root / "daemon.log", "a") as log:
        status = subprocess.run(command(binary, root), env=environment(), stdin=subprocess.DEVNULL,
                                stdout=log, stderr=log, timeout=PASS_LIMIT).returncode
    if status != 0:
        raise Wrong(f"the undisturbed pass ended with exit status {status}")


def thread_called(process, name):
    """Returns the id of a thread, which bears its name only some moments after its start."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
            try:
                if (task / "comm").read_text().strip() == name:
                    return task.name
            except OSError:
                continue  # It ended meanwhile.
        time.sleep(0.01)
    raise Wrong(f"there is no thread `{name}`")


def wait_for(what, holds):
    end = time.monotonic() + PASS_LIMIT
    while not holds():
        if time.monotonic() > end:
            raise Wrong(f"waited in vain for {what}")
        time.sleep(0.01)


def disturbed_start(binary, root, inject):
    (root / "fake/go").touch()
    strace = ["strace", "-f", "-qq", "-o", str(root / "trace"), *inject]
    with open(root / "daemon.log", "w") as log:
        return subprocess.run(strace + command(binary, root), env=environment(), stdout=log,
                              stderr=log, stdin=subprocess.DEVNULL, timeout=PASS_LIMIT).returncode


def disturbed_record(binary, root, inject):
    with open(root / "daemon.log", "w") as log:
        daemon = subprocess.Popen(command(binary, root), env=environment(), stdout=log, stderr=log,
                                  stdin=subprocess.DEVNULL)
    strace = None
    try:
        wait_for("the analysis", lambda: (root / "fake/waiting").exists())
        thread = thread_called(daemon, "record")
        attached = root / "attached"
        with open(attached, "w") as log:
            strace = subprocess.Popen(["strace", "-p", thread, "-o", str(root / "trace"), *inject],
                                      stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for("strace", lambda: "attached" in attached.read_text())
        (root / "fake/go").touch()
        status = daemon.wait(timeout=PASS_LIMIT)
        strace.wait(timeout=PASS_LIMIT)
        return status
    finally:
        for process in filter(None, [daemon, strace]):
            if process.poll() is None:
                process.kill()
                process.wait()


def check_ways(way, made):
    """Without it a matrix of passes that tie and score nothing would be as good."""
    log = made["master_experiment_log.md"]
    is_tied = f"| `{small_project.RUN}` |" in log and "PENDING" not in log
    scored = "MRPC" in log
    if way == "begun" and not (is_tied and scored and small_project.BEGUN_TAG in log):
        raise Wrong(f"the row was not tied, or has no scores:\n{log}")


def prepare(root, way):
    make_project(root, has_row=way == "record")
    if way == "begun":
        small_project.begin(root)
        small_project.evaluate(root)


def cell(binary, folder, way, call, how, number, expected):
    """Returns whether the N-th call of this kind was disturbed."""
    root = folder / f"{way}-{call}-{how}-{number}"
    prepare(root, way)
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:{WAYS[how]}:when={number}"]
    disturb = disturbed_record if way == "record" else disturbed_start
    try:
        status = disturb(binary, root, inject)
        trace = (root / "trace").read_text()
        if how == "KILL":
            # strace ends as its tracee did.
            hit = status in (-9, 137)
            allowed = hit or status == 0
        else:
            hit = "(INJECTED)" in trace
            # What could not be written is left for the next pass, and said.
            allowed = status in (0, 1) if hit else status == 0
        if not allowed:
            raise Wrong(f"the disturbed pass ended with exit status {status}")
        if not hit and documents(root) != expected:
            raise Wrong("a pass without a disturbance made other documents")
        undisturbed(binary, root)
        for name in documents(root).keys() ^ expected.keys():
            raise Wrong(f"`{name}` is there in one of the two lives only")
        for name, text in documents(root).items():
            if text != expected[name]:
                raise Wrong(f"`{name}` differs:\n{text}")
    except (Wrong, subprocess.TimeoutExpired) as error:
        log = (root / "daemon.log").read_text()[-3000:]
        raise Wrong(f"{way}: {how} at {call} {number}: {error}\n{log}") from error
    shutil.rmtree(root)
    return hit


def column(binary, folder, workers, way, call, how, expected):
    """Goes through all calls of one kind; returns how many there were, and what went wrong."""
    wrong, first, batch = [], 1, FIRST_BATCH
    while first < MOST_CALLS:
        numbers = range(first, first + batch)
        cells = [workers.submit(cell, binary, folder, way, call, how, number, expected)
                 for number in numbers]
        concurrent.futures.wait(cells)
        for number, done in zip(numbers, cells):
            try:
                if not done.result():
                    return number - 1, wrong
            except Wrong as error:
                wrong.append(str(error))
        if wrong:
            # Where cells fail it is not known which of them still came to their call.
            return numbers[-1], wrong
        first, batch = first + batch, min(2 * batch, AT_ONCE)
    return first - 1, [*wrong, f"{way}: {call}: more than {MOST_CALLS} calls"]


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    failures, points = [], 0
    with tempfile.TemporaryDirectory(prefix="runscribe-matrix-") as scratch:
        folder = pathlib.Path(scratch)
        expected = {}
        for way in CALLS:
            root = folder / way
            prepare(root, way)
            undisturbed(binary, root)
            expected[way] = documents(root)
            if len(expected[way]) != 2:
                raise Wrong(f"not one log and one note: {list(expected[way])}")
            check_ways(way, expected[way])
        # A start that fails says so and ends: tests of the journal have it.
        rows = [(how, way) for how in WAYS for way in CALLS if how == "KILL" or way == "record"]
        with (concurrent.futures.ThreadPoolExecutor(AT_ONCE) as workers,
              concurrent.futures.ThreadPoolExecutor(sum(len(CALLS[way]) for _, way in rows)) as columns):
            started = {(how, way): [
                columns.submit(column, binary, folder, workers, way, call, how, expected[way])
                for call in CALLS[way]] for how, way in rows}
            for (how, way), row in started.items():
                figures = []
                for call, done in zip(CALLS[way], row):
                    count, wrong = done.result()
                    points += count
                    failures += wrong
                    figures.append(f"{call} {count}")
                print(f"figure: {how:6} {way:6} {', '.join(figures)}", flush=True)
    return end_of_matrix(points, failures)


if __name__ == "__main__":
    sys.exit(main())
