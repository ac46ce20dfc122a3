#!/usr/bin/env python3
"""Kills the commands that write documents at every write, fsync and rename, and runs them again.

Usage: command_matrix.py BINARY [COMMAND…]

Each cell is a copy of a small repository and one command under strace, which kills the first process
or thread that comes to its N-th call of one kind: the program itself, or the git that it runs. What
git leaves locked then is unlocked, as git itself advises. The same command follows undisturbed, and
then documents, tags and notes must equal those of a life without any disturbance.
"""

import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from outcome import Wrong, end_of_matrix

KILLED_AT = ["write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "renameat2", "unlink", "linkat"]
AT_ONCE = 10
LIMIT = 60

LOG = "docs/2_Experiments_Registry/master_experiment_log.md"
TODOS = "docs/1_Strategy_and_Plans/active_todos.md"
SCRIPT = "scripts/train_diffusion_multigpu.sh"
FILES = {
    ".gitignore": "Cache/\n",
    SCRIPT: "#!/bin/bash\npython training/train.py --learning_rate 3e-4\n",
    "training/train.py": (
        "import wandb\nfrom training.git_info import get_git_info\n\nwandb.init(config={"
        '**{f"git_{k}": v for k, v in get_git_info().items()}})\n'),
    "training/git_info.py": (
        'def get_git_info():\n    return {"commit": c(), "tag": t(), "branch": b(), "dirty": d()}\n'),
    LOG: (
        "# Log\n\nA person's words.  \n\n## Training Runs\n\n| Date | Run ID / Model Type | Architecture "
        "| Machine | Task Loss | Git Tag | Conclusion |\n|---|---|---|---|---|---|---|\n\nProse that stays."),
    TODOS: "# TODOs\n\n## TODO 6: Masked diffusion\n\n**Status:** [ ] open\n\n- [ ] another\n",
    "CHANGELOG.md": (
        "# Changelog\n\n## [Unreleased]\n\n---\n\n## [2026-01-02] — Older\n\n**What changed:** y\n\n"
        "**Why:** x\n\n**Git tag:** --"),
    "runscribe.toml": "",
}
COMMANDS = {
    "begin": ["begin", "diffusion_H64L2C128D2", "--script", SCRIPT],
    "changelog": ["changelog", "add", "--title", "Less", "--what", "nn/a.py: less", "--why", "w",
                  "--todo", "6"],
    "todo": ["todo", "done", "6"],
}


def environment():
    roles = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    return {"PATH": os.environ["PATH"], "NO_COLOR": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1", **{role: "a" for role in roles}}


def git(root, *arguments):
    return subprocess.run(["git", "-C", root, *arguments], env=environment(), check=True,
                          capture_output=True, text=True).stdout


def make_template(root):
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "feat: begin")


def state(root):
    """Returns the documents, the notes on trainings that were begun, and the tags with their commits."""
    begun = root / "Cache/runscribe/begun"
    notes = {path.name: re.sub(r'"time": "[^"]*"', "", path.read_text()) for path in begun.glob("*.json")}
    rows = {path.name: "" for path in begun.glob("*.row")}
    tags = git(root, "for-each-ref", "refs/tags", "--format=%(refname) %(*objectname)")
    return {**{name: (root / name).read_text() for name in FILES}, **notes, **rows, "tags": tags,
            "changes": git(root, "status", "--short", "--untracked-files=no")}


def run(root, command, before=()):
    with open(root / "Cache/said", "a") as said:
        return subprocess.run([*before, *command, "--root", str(root)], env=environment(), stdout=said,
                              stderr=said, stdin=subprocess.DEVNULL, timeout=LIMIT).returncode


def copy_of(template, root):
    shutil.copytree(template, root)
    (root / "Cache").mkdir()
    return root


def traced(root, call, inject=()):
    return ["strace", "-f", "-q", "-o", str(root / "Cache/trace"), "-e", f"trace={call}", *inject]


def cell(binary, folder, name, call, number, expected):
    """Kills the first process that comes to its N-th call of this kind, and runs the command again.

    Returns whether one came there, which depends on which thread does what, and what went wrong."""
    root = copy_of(folder / "template", folder / f"{name}-{call}-{number}")
    command = [binary, *COMMANDS[name]]
    try:
        status = run(root, command, traced(root, call, ["-e", f"inject={call}:signal=KILL:when={number}"]))
        hit = "killed by SIGKILL" in (root / "Cache/trace").read_text()
        if not hit and status != 0:
            raise Wrong(f"undisturbed it ended with exit status {status}")
        for lock in (root / ".git").rglob("*.lock"):
            lock.unlink()
        status = run(root, command)
        if status != 0:
            raise Wrong(f"the second time it ended with exit status {status}")
        after = state(root)
        for what in after.keys() | expected.keys():
            if after.get(what) != expected.get(what):
                raise Wrong(f"`{what}` differs:\n{after.get(what)}")
    except (Wrong, subprocess.TimeoutExpired) as error:
        said = (root / "Cache/said").read_text()[-2000:]
        return True, f"{name}: killed at {call} {number}: {error}\n{said}"
    shutil.rmtree(root)
    return hit, None


def calls(binary, folder, name):
    """Returns the most calls of each kind that one process or thread makes, and what comes of them."""
    root = copy_of(folder / "template", folder / name)
    if run(root, [binary, *COMMANDS[name]], traced(root, ",".join(KILLED_AT))) != 0:
        raise Wrong((root / "Cache/said").read_text())
    seen = collections.Counter()
    for line in (root / "Cache/trace").read_text().splitlines():
        if found := re.match(r"(\d+) +(\w+)\(", line):
            seen[found.groups()] += 1
    most = {call: max((count for (_, one), count in seen.items() if one == call), default=0)
            for call in KILLED_AT}
    return {call: count for call, count in most.items() if count}, state(root)


def main():
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    failures, points = [], 0
    with tempfile.TemporaryDirectory(prefix="runscribe-commands-") as scratch:
        folder = pathlib.Path(scratch)
        make_template(folder / "template")
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as workers:
            for name in sys.argv[2:] or COMMANDS:
                most, expected = calls(binary, folder, name)
                cells = [workers.submit(cell, binary, folder, name, call, number, expected)
                         for call, count in most.items() for number in range(1, count + 1)]
                hits = [hit for hit, _ in (one.result() for one in cells)]
                failures += [wrong for _, wrong in (one.result() for one in cells) if wrong]
                points += sum(hits)
                if sum(hits) < len(hits) * 0.8:
                    failures.append(f"{name}: only {sum(hits)} of {len(hits)} points were reached")
                figures = [f"{call} {count}" for call, count in most.items()]
                print(f"figure: {name:9} {', '.join(figures)}", flush=True)
    return end_of_matrix(points, failures)


if __name__ == "__main__":
    sys.exit(main())
