#!/usr/bin/env python3
"""A daemon under everything at once, for a while; at the end it must be as it was.

Usage: soak.py BINARY SECONDS FOLDER

Trainers save and rotate checkpoints, a log grows by progress frames and is rotated in both ways,
clients come and go, send garbage and stop reading, and analyses are killed at random. In the end
every checkpoint that is left has exactly one observation, one client has read every event in order,
and open files, threads and inotify watches are those of the beginning; and memory is flat: in the last
half it may have grown by what the daemon knows of each checkpoint, which is stated in bytes, and by
new events as long as the newest ones do not fill their room.
"""

import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

from outcome import Wrong
from small_project import REGISTRY, make_project, save

RUNS = [f"diffusion_H64L2C128D2_20261123_0638{number:02}" for number in range(3)]
KEPT = 3
FIRST_STEP = 20
SAVE_EVERY = 1.2
STORM_CHUNK = b"".join(
    b"\r %d%%|#####     | %d/1000 [00:02<00:02,  9.55it/s]" % (step // 10, step)
    for step in range(1000))
METRICS = b"\n{'loss': 8.6391, 'grad_norm': 2.29, 'learning_rate': 0.00027, 'epoch': %.2f}\n"
ROTATE_AT = 8 << 20
CHURNERS = 8
STOPPED_READERS = 10
# The quick retries are two, after 5 s and 20 s; a third kill would put a checkpoint off for an hour.
KILLS_OF_ONE = 2
SHORT = 120
# What memory may grow by: the newest events for all clients, a line and its place each, within a
# bound of their own (4,096 of them, 1 MiB of lines);
EVENT, NEWEST_EVENTS = 384, (1 << 20) + 4096 * 64
# what is known for ever of each checkpoint that is gone: an observation of 200 bytes and its note, the
# content's digest and its end (104 bytes), and an eighth more for room;
KNOWN_OF_EACH = 512
# what is made once, while everything happens for the first time: patterns, buffers, stacks;
WARM_UP = 4 << 20
# and what the allocator has not given back at one moment or another.
NOISE = 512 << 10
QUIET_LIMIT = 90


def of_the_unit():
    """Returns what the unit says of the allocator."""
    unit = pathlib.Path(__file__).parents[2] / "systemd/runscribe.service"
    line = re.search(r"^Environment=(.*)$", unit.read_text(), re.MULTILINE)[1]
    return dict(pair.split("=", 1) for pair in line.split())


def in_tenths(samples):
    """Returns the medians of each tenth: memory, checkpoints, events."""
    size = max(1, -(-len(samples) // 10))
    parts = [samples[at:at + size] for at in range(0, len(samples), size)]
    return [tuple(statistics.median(column) for column in zip(*part)) for part in parts]


def check_flat(tenths, seconds):
    """Memory grows in the last half by what is known of each checkpoint, and by nothing else.

    What is made once is made in the first two minutes, so a short form only prints the figures.
    """
    (then, checkpoints_then, events_then), (now, checkpoints_now, events_now) = (
        tenths[len(tenths) // 2], tenths[-1])
    newest = (min(NEWEST_EVENTS, EVENT * events) for events in (events_now, events_then))
    checkpoints = checkpoints_now - checkpoints_then
    allowed = KNOWN_OF_EACH * checkpoints + next(newest) - next(newest) + NOISE
    print(f"figure: memory grew by {(now - then) / 1024:.0f} KiB in the last half, by "
          f"{checkpoints:.0f} checkpoints and {events_now - events_then:.0f} events; allowed "
          f"{allowed / 1024:.0f} KiB")
    if seconds > SHORT and now - then > allowed:
        raise Wrong("memory is not flat")


class Soak:
    """One daemon, its project, and all who disturb it."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.root = folder / "project"
        self.socket = str(self.root / "Cache/runscribe/status.sock")
        self.output = folder / "daemon.log"
        self.over = threading.Event()
        self.counts = collections.Counter()
        self.failures = []
        self.daemon = None

    # The project and the daemon.

    def prepare(self):
        make_project(self.root, has_row=False)
        first = self.root / "Cache/Training"
        shutil.rmtree(first)
        for run in RUNS:
            save(self.root, FIRST_STEP, run)
        (self.root / "fake/go").touch()
        program = self.root / "fake/analysis"
        # An analysis that takes a moment can be killed in it.
        program.write_text(program.read_text().replace("\nsed", "\nsleep 0.2\nsed", 1))
        with (self.root / "runscribe.toml").open("a") as settings:
            settings.write('reconcile = "2s"\n')

    def start(self):
        environment = {"PATH": os.environ["PATH"], "NO_COLOR": "1", **of_the_unit()}
        with self.output.open("ab") as output:
            self.daemon = subprocess.Popen(
                [self.binary, "watch", "--root", str(self.root)], env=environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        try:
            status = self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
            raise Wrong("the daemon did not stop within 30 s of TERM") from None
        if status != 0:
            raise Wrong(f"the daemon ended with exit status {status}")

    def status(self):
        """Returns the snapshot, or None while there is none."""
        try:
            with self.connect(5) as client:
                client.sendall(b'{"once":true}\n')
                for line in client.makefile("rb"):
                    message = json.loads(line)
                    if message["type"] == "status":
                        return message
        except (OSError, ValueError):
            pass
        return None

    def connect(self, timeout):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(timeout)
        try:
            client.connect(self.socket)
        except OSError:
            client.close()
            raise
        return client

    def is_quiet(self):
        status = self.status()
        return bool(
            status and len(status["runs"]) == len(RUNS) and not status["queue"]
            and not status["running"] and status["documents"]["pending"] == 0
            and all(run["checkpoints"]["pending"] == 0 and run["checkpoints"]["analyzed"] > 0
                    for run in status["runs"]))

    def wait_until(self, what, limit, holds, told=lambda: ""):
        end = time.monotonic() + limit
        while not holds():
            if self.daemon.poll() is not None:
                raise Wrong(f"the daemon has ended with exit status {self.daemon.returncode}")
            if time.monotonic() > end:
                raise Wrong(f"waited in vain for {what} {told()}")
            time.sleep(0.1)

    # What is measured.

    def usage(self):
        """Returns bytes of memory of its own, and the numbers of files, threads and watches.

        Pages of the program itself and of the journal's index are read in as they are needed, and
        can be dropped at any time; they say nothing of growth.
        """
        process = pathlib.Path(f"/proc/{self.daemon.pid}")
        text = (process / "status").read_text()
        own = int(re.search(r"RssAnon:\s+(\d+)", text)[1]) << 10
        threads = int(re.search(r"Threads:\s+(\d+)", text)[1])
        watches, files = 0, 0
        for entry in os.listdir(process / "fd"):
            try:
                watches += (process / "fdinfo" / entry).read_text().count("inotify ")
                # A shell log is open while it is followed, a deleted one for its last words.
                files += "shell_storm" not in os.readlink(process / "fd" / entry)
            except OSError:
                pass
        return own, (files, threads, watches)

    def open_files(self):
        """Returns what the daemon has open."""
        links = pathlib.Path(f"/proc/{self.daemon.pid}/fd")
        return sorted(os.readlink(links / name) for name in os.listdir(links))

    # Those who disturb; each ends soon after `over` is set.

    def train(self, run):
        """Saves a checkpoint again and again, and keeps the newest as a trainer does."""
        step = FIRST_STEP
        while not self.over.wait(SAVE_EVERY * random.uniform(0.5, 1.5)):
            step += 20
            save(self.root, step, run)
            self.counts["checkpoints"] += 1
            if step >= FIRST_STEP + KEPT * 20:
                oldest = self.root / "Cache/Training" / run / f"checkpoint-{step - KEPT * 20}"
                shutil.rmtree(oldest)

    def storm(self):
        """Writes progress frames, and rotates the log by truncation and by renaming in turn."""
        path = self.root / "Cache/logs/shell_storm.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
        rotations = 0
        while not self.over.wait(0.02):
            file.write(STORM_CHUNK + METRICS % (self.counts["logged"] / 1e9))
            self.counts["logged"] += len(STORM_CHUNK)
            if file.tell() >= ROTATE_AT:
                rotations += 1
                if rotations % 2:
                    os.truncate(path, 0)
                else:
                    path.rename(path.with_suffix(".log.1"))
                    file.close()
                    file = path.open("ab", buffering=0)
        file.close()

    def churn(self):
        """Connects, says something or half of it, reads a little, and is gone.

        Whoever may connect is let in and greeted within seconds, whatever the others do.
        """
        requests = [b'{"since":0}\n', b'{"once":true}\n', b'{"run":"' + RUNS[0].encode() + b'"}\n',
                    b"", b'{"since":', b"\xff\x00garbage\n", b"{" * 5000]
        while not self.over.wait(random.uniform(0, 0.1)):
            with self.connect(5) as client:
                if not client.recv(1):
                    raise Wrong("a client was not greeted")
                client.settimeout(0.3)
                try:
                    client.sendall(random.choice(requests))
                    for _ in range(random.randrange(4)):
                        client.recv(4096)
                except TimeoutError:
                    # Nothing happens just now.
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    self.counts["cut off"] += 1
            self.counts["clients"] += 1

    def read_nothing(self):
        """Asks for everything and takes nothing."""
        while not self.over.is_set():
            try:
                with self.connect(2) as client:
                    client.sendall(b'{"since":0}\n')
                    self.over.wait(random.uniform(5, 40))
            except OSError:
                self.over.wait(0.1)

    def follow(self):
        """Reads every event, and knows when one is missing."""
        with self.connect(1) as client:
            client.sendall(b'{"since":0}\n')
            rest, last = b"", 0
            while not self.over.is_set():
                try:
                    data = client.recv(1 << 16)
                except TimeoutError:
                    continue
                if not data:
                    raise Wrong("the client that reads everything was cut off")
                *lines, rest = (rest + data).split(b"\n")
                for message in map(json.loads, lines):
                    if message["type"] == "gap":
                        raise Wrong(f"a gap: {message}")
                    if message["type"] == "event":
                        if message["seq"] != last + 1:
                            raise Wrong(f"event {message['seq']} came after {last}")
                        last = message["seq"]
                self.counts["events"] = last

    def kill_analyses(self, times):
        """Kills analyses of this project at random, and each so many times at most."""
        killed = collections.Counter()
        while not self.over.wait(random.uniform(0.3, 2.0)):
            for pid, checkpoint in self.analyses():
                if killed[checkpoint] < times and random.random() < 0.5:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    killed[checkpoint] += 1
                    self.counts["killed"] += 1

    def analyses(self):
        """Returns pid and checkpoint of this project's running analyses."""
        program = str(self.root / "fake/analysis")
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                except OSError:
                    continue
                # `/bin/sh PROGRAM FOLDER CHECKPOINT REPORT`
                if len(words) > 4 and words[1] == program:
                    found.append((int(entry.name), "/".join(words[3].split("/")[-2:])))
        return found

    def guard(self, work, *arguments):
        """Runs one of those above, and keeps why it failed."""
        try:
            work(*arguments)
        except Exception as error:  # pylint: disable=broad-except
            self.failures.append(f"{work.__name__}: {error!r}")
            self.over.set()

    # The whole.

    def run(self, seconds):
        self.prepare()
        self.start()
        self.wait_until("a quiet beginning", 30, self.is_quiet, self.tell)
        before = self.settled_usage()
        memory_before = self.usage()[0]
        workers = [(self.train, run) for run in RUNS]
        workers += [(self.storm,), (self.follow,)]
        # The longer wait for a second retry is more than a short form has time for.
        workers += [(self.kill_analyses, KILLS_OF_ONE if seconds > SHORT else 1)]
        workers += [(self.churn,)] * CHURNERS + [(self.read_nothing,)] * STOPPED_READERS
        threads = [threading.Thread(target=self.guard, args=work) for work in workers]
        for thread in threads:
            thread.start()
        try:
            samples = self.sample(seconds)
        finally:
            self.over.set()
            for thread in threads:
                thread.join()
        if self.failures:
            raise Wrong("; ".join(self.failures))
        self.wait_until("quiet at the end", QUIET_LIMIT, self.is_quiet, self.tell)
        self.check_end(before, memory_before, samples, seconds)

    def settled_usage(self):
        """Returns the numbers when they have not changed for longer than an idle thread is kept."""
        since, numbers = time.monotonic(), self.usage()[1]
        end = since + 60
        while time.monotonic() - since < 11:
            now = self.usage()[1]
            if now != numbers:
                since, numbers = time.monotonic(), now
            if time.monotonic() > end:
                raise Wrong(f"files, threads and watches do not settle: {numbers}")
            time.sleep(0.2)
        return numbers

    def sample(self, seconds):
        """Returns the memory of each second, and how many checkpoints and events there were."""
        end, samples = time.monotonic() + seconds, []
        while time.monotonic() < end and not self.over.wait(1):
            if self.daemon.poll() is not None:
                raise Wrong(f"the daemon has ended with exit status {self.daemon.returncode}")
            counts = self.counts
            samples.append((self.usage()[0], counts["checkpoints"], counts["events"]))
        return samples

    def check_end(self, before, memory_before, samples, seconds):
        self.wait_until(
            "files, threads and watches to be what they were", 40,
            lambda: all(now <= then for now, then in zip(self.usage()[1], before)),
            lambda: f"{before}: {self.usage()[1]} {self.open_files()}")
        quiet, after = self.usage()
        tenths = in_tenths(samples)
        counts = self.counts
        print(f"figure: {seconds:.0f} s: {counts['checkpoints']} checkpoints, {counts['killed']} "
              f"analyses killed, {counts['logged'] >> 20} MiB of log, {counts['clients']} clients, "
              f"{counts['cut off']} of them cut off, {counts['events']} events")
        print(f"figure: memory in MiB: {memory_before / 2**20:.2f} before, in each tenth "
              f"{' '.join(f'{tenth[0] / 2**20:.2f}' for tenth in tenths)}, "
              f"{quiet / 2**20:.2f} after")
        print(f"figure: files, threads, inotify watches: {before} before, {after} after")
        check_flat(tenths, seconds)
        newest = min(NEWEST_EVENTS, EVENT * counts["events"])
        allowed = memory_before + newest + KNOWN_OF_EACH * counts["checkpoints"] + WARM_UP
        if quiet > allowed:
            raise Wrong(f"memory grew beyond {allowed / 2**20:.1f} MiB in all")
        if not counts["killed"] or not counts["clients"]:
            raise Wrong("nothing was disturbed")
        self.check_observations()
        self.stop()
        if left := self.analyses():
            raise Wrong(f"analyses remain: {left}")
        if "panicked" in self.output.read_text(errors="replace"):
            raise Wrong("something panicked")

    def check_observations(self):
        """Exactly one row for each checkpoint that is left, and no two for any."""
        log = (self.root / REGISTRY / "master_experiment_log.md").read_text()
        section = log.split("## Checkpoint Observations", 1)[-1].split("\n## ", 1)[0]
        rows = collections.Counter()
        for line in section.splitlines():
            cells = [cell.strip(" `") for cell in line.split("|")]
            if len(cells) > 4 and cells[2] in RUNS:
                rows[cells[2], cells[3]] += 1
        if doubled := [name for name, count in rows.items() if count > 1]:
            raise Wrong(f"more than one row for {doubled}")
        left = {(run, path.name) for run in RUNS
                for path in (self.root / "Cache/Training" / run).glob("checkpoint-*")}
        if missing := left - set(rows):
            raise Wrong(f"no row for {sorted(missing)}")

    def tell(self):
        """Returns what the daemon says of itself."""
        status = self.status() or {}
        told = {key: status.get(key) for key in ("queue", "running", "documents", "problems")}
        return json.dumps(told)[:2000]


def main():
    binary, seconds, folder = sys.argv[1], float(sys.argv[2]), pathlib.Path(sys.argv[3])
    folder.mkdir(parents=True)
    soak = Soak(binary, folder.resolve())
    try:
        soak.run(seconds)
    except Wrong as wrong:
        print(f"failed: {wrong}")
        print(*soak.output.read_text(errors="replace").splitlines()[-30:], sep="\n")
        sys.exit(1)
    finally:
        if soak.daemon and soak.daemon.poll() is None:
            soak.daemon.kill()
            soak.daemon.wait()


if __name__ == "__main__":
    main()
