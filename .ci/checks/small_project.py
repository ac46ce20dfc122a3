#!/usr/bin/env python3
"""A small project whose analysis reports a rank below the gate, for the checks.

Usage: small_project.py new ROOT     a project with one checkpoint and a log without its run's row
       small_project.py save ROOT N  one more checkpoint, of step N
"""

import json
import math
import pathlib
import struct
import sys

RUN = "diffusion_H64L2C128D2_20261123_063802"
REGISTRY = "docs/2_Experiments_Registry"

FAKE = """#!/bin/sh
# Reports a rank below the gate once it is told to go on.
: >"$1/waiting"
while [ ! -e "$1/go" ]; do sleep 0.02; done
sed "s|@PATH@|$2|" "$1/stdout.txt"
sed "s|@PATH@|$2|" "$1/out.json" >"$3"
"""

HEADER = (
    "# Master Experiment Log\n\nA person's words, kept as they are.  \n\n## Training Runs\n\n"
    "| Date | Run ID / Model Type | Architecture | Machine | Task Loss | Eff. Rank "
    "| Git Tag | Conclusion / Takeaway |\n|:---|:---|---|---|---|---|---|---|\n"
    "| 2026-02-08 | `perceiver_mlm_H512L6C128_20260208_211633` | H512 L6 C128 | Polonez | 2.54 "
    "| **5.1 / 128** (4.0%) | — | Concepts collapse.  \t|\n"
)
BEGUN_TAG = "train/diffusion_H64L2C128D2_20261123"
BEGUN_ROW = (f"| 2026-11-23 | `diffusion_H64L2C128D2` | H64 L2 C128 | Odra | -- | -- | `{BEGUN_TAG}` "
             "| PENDING: LR 3e-4 |\n")
EMPTY_ROW = f"| 2026-11-23 | `{RUN}` | H64 L2 C128 | Odra | -- | -- | -- | **TBD** |\n"
# Which of two sections that a log lacks is needed first depends on the moment: it has this one.
EVALUATIONS = (
    "\n## Evaluation Experiments (Zero Training Cost)\n\n| Date | Eval Type | Source Checkpoint "
    "| Machine | Tasks | Key Scores | WandB | Conclusion |\n|---|---|---|---|---|---|---|---|\n\n"
)
FOOTER = "---\n\nNo newline at the end"

TEXT = """=================================================================
CONCEPT SPACE GEOMETRY REPORT
=================================================================
Model           : @PATH@
Model type      : diffusion_mlm
Concepts (C)    : 128
Hidden dim (H)  : 64
Batches analysed: 3

─── Collapse Detection ─────────────────────────────────────
  Global effective rank (raw)              4.0000   ✗ POOR
  Global effective rank (normalized 0-1)   0.062   ✗ POOR

─── Concept Diversity ──────────────────────────────────────
  Mean pairwise concept similarity         0.2286   ✓ GOOD
  Max pairwise concept similarity          0.7389   △ OK

─── Recommendations ────────────────────────────────────────
  → none
=================================================================
"""


def make_project(root, has_row):
    """Writes a project with one checkpoint whose analysis will fail the gate."""
    registry = root / REGISTRY
    registry.mkdir(parents=True, exist_ok=True)
    row = EMPTY_ROW if has_row else ""
    (registry / "master_experiment_log.md").write_text(HEADER + row + FOOTER)
    fake = root / "fake"
    fake.mkdir()
    (fake / "analysis").write_text(FAKE)
    (fake / "analysis").chmod(0o755)
    (fake / "stdout.txt").write_text(TEXT)
    (fake / "out.json").write_text(json.dumps({
        "model_path": "@PATH@", "model_type": "diffusion_mlm", "n_batches": 3, "n_samples": 24,
        "max_concept_similarity": 0.7389, "mean_concept_similarity": 0.2286,
        "global_effective_rank": 4.0, "global_effective_rank_normalized": 0.0625,
    }, indent=1))
    (root / "runscribe.toml").write_text(
        '[analysis]\ncommand = ["{root}/fake/analysis", "{root}/fake", "{checkpoint}", '
        '"{output_json}"]\nkill_grace = "300ms"\n[watch]\nsettle = "300ms"\n'
    )
    save(root, 20)


def begin(root):
    """Writes the row of a training that was begun, as `begin` does, and what that notes of it."""
    log = root / REGISTRY / "master_experiment_log.md"
    log.write_text(HEADER + BEGUN_ROW + EVALUATIONS + FOOTER)
    folder = root / "Cache/runscribe/begun"
    folder.mkdir(parents=True)
    note = folder / f"{BEGUN_TAG.replace('/', '+')}.json"
    note.write_text(json.dumps({
        "run": "diffusion_H64L2C128D2", "tag": BEGUN_TAG, "time": "2026-11-23T06:30:00+00:00",
        "commit": "4f0780279d2956c7f82c97aeccbef3d3392e8ca4", "script": "scripts/train.sh", "plan": [],
        "cells": [{"column": "machine", "value": "Odra"},
                  {"column": "git_tag", "value": f"`{BEGUN_TAG}`"},
                  {"column": "conclusion", "value": "PENDING: LR 3e-4"}],
    }))
    note.with_suffix(".row").touch()


def evaluate(root):
    """Writes the report of an evaluation of the checkpoint."""
    folder = root / "Cache/Evaluation_reports"
    folder.mkdir(parents=True)
    name = "glue-mrpc-x-42M-20261123_1200"
    path = f"Cache/Training/{RUN}/checkpoint-20"
    (folder / f"{name}-results.csv").write_text(
        f"model_name,task,metric,score\n{path},mrpc,f1,0.822\n")
    (folder / f"{name}-summary.csv").write_text(
        f"model_name,task,main_metric,score\n{path},mrpc,accuracy,0.5\n")


def save(root, step, run=RUN):
    """Writes a checkpoint, the trainer's state last."""
    checkpoint = root / "Cache/Training" / run / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text(json.dumps({
        "architectures": ["ConceptEncoderForMaskedDiffusion"], "concept_num": 128,
        "hidden_size": 64, "num_hidden_layers": 2, "max_sequence_length": 64,
    }))
    values = [math.sin(index * 0.7 + step) for index in range(128 * 64)]
    name = "encoder.concept_embeddings.weight"
    header = json.dumps({name: {
        "dtype": "F32", "shape": [128, 64], "data_offsets": [0, 4 * len(values)],
    }}).encode()
    (checkpoint / "model.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}f", *values))
    (checkpoint / "trainer_state.json").write_text(json.dumps({
        "global_step": step, "max_steps": 1000, "epoch": 0.1,
        "log_history": [{"step": step, "loss": 8.3, "grad_norm": 1.9, "learning_rate": 2.4e-4},
                        {"step": step, "eval_loss": 8.2}],
    }))


def main():
    root = pathlib.Path(sys.argv[2])
    if sys.argv[1] == "new":
        make_project(root, has_row=False)
    else:
        save(root, int(sys.argv[3]))


if __name__ == "__main__":
    main()
