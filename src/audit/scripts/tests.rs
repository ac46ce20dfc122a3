//! Launchers and programs in the forms that the project has, and in odd ones.

use super::{Answer, Source, imports, launcher, plan, recording};

/// Reads a launcher and returns the program that it starts, else why there is no one.
fn entry(path: &str, text: &str) -> Result<String, String> {
    let launcher = launcher(Source { path, text });
    launcher.entry().map(|start| start.entry.clone())
}

fn check_shell(text: &str, expected: &str) {
    let found = entry("scripts/train.sh", text);
    assert_eq!(found.as_deref(), Ok(expected), "{text}");
}

fn check_powershell(text: &str, expected: &str) {
    let found = entry("scripts/train.ps1", text);
    assert_eq!(found.as_deref(), Ok(expected), "{text}");
}

const DIFFUSION: &str = r#"#!/bin/bash
# accelerate launch old.py
set -e
echo "Training with python never.py; really"
NUM_GPUS=$(nvidia-smi --list-gpus | wc -l)
if [ $NUM_GPUS -gt 0 ]; then
    GPU_IDS=$(seq -s, 0 $((NUM_GPUS - 1)))
    export CUDA_VISIBLE_DEVICES=$GPU_IDS
else
    echo "ERROR: No GPUs detected!"
    exit 1
fi
export NCCL_SOCKET_IFNAME=^docker0,lo
PER_DEVICE_BATCH_SIZE=64
LEARNING_RATE=3e-4              # not 5e-4
CONCEPT_LOSSES="vicreg t_regs_mst"
PROJECT_ROOT="/home/someone/dev/Project"
SHELL_LOG="${PROJECT_ROOT}/Cache/logs/shell_diffusion_$(date +%Y%m%d_%H%M%S).log"

accelerate launch \
    --num_processes=$NUM_GPUS \
    --multi_gpu \
    training/train_diffusion.py \
    --learning_rate "$LEARNING_RATE" \
    --dataset_name "JeanKaddour/minipile" \
    --dataset_name_subset "" \
    --per_device_train_batch_size "$PER_DEVICE_BATCH_SIZE" \
    --gradient_accumulation_steps 2 \
    --num_train_epochs 20 \
    --lr_scheduler_type "cosine" \
    --concept_losses "$CONCEPT_LOSSES" \
    --loss_weighting fixed \
    --loss_weight 0.02 \
    --bf16 \
    2>&1 | python scripts/clean_tee.py "$SHELL_LOG"

echo "Training completed!"
"#;

#[test]
fn a_launcher_of_several_processes_tells_program_and_plan() {
    let launcher =
        launcher(Source { path: "scripts/train_diffusion_multigpu.sh", text: DIFFUSION });
    let start = launcher.entry().unwrap();
    assert_eq!((start.entry.as_str(), start.line), ("training/train_diffusion.py", 20));
    let plan = plan(start);
    assert_eq!(plan.parameters.as_deref(), Some("LR 3e-4 cosine, batch 128 per process"));
    assert_eq!(plan.data.as_deref(), Some("JeanKaddour/minipile"));
    assert_eq!(plan.epochs.as_deref(), Some("20"));
    assert_eq!(plan.losses.as_deref(), Some("vicreg + t_regs_mst (fixed 0.02)"));
    assert_eq!(start.parameters.last().unwrap().name, "bf16");
    assert_eq!(start.parameters.last().unwrap().value.as_deref(), Ok(""));
    let known = DIFFUSION.replace("$NUM_GPUS \\", "4 \\");
    let launcher = super::launcher(Source { path: "a.sh", text: &known });
    let plan = super::plan(launcher.entry().unwrap());
    assert_eq!(plan.parameters.as_deref(), Some("LR 3e-4 cosine, batch 512"));
}

#[test]
fn shell_launchers_in_many_forms() {
    for (text, expected) in [
        ("python training/a.py --x 1", "training/a.py"),
        ("CUDA_VISIBLE_DEVICES=0 nohup python3.11 -u training/a.py > log 2>&1 &", "training/a.py"),
        ("poetry run python training/a.py", "training/a.py"),
        ("uv run training/a.py --x", "training/a.py"),
        ("torchrun --nproc_per_node 4 training/a.py", "training/a.py"),
        ("python -m torch.distributed.run --nproc_per_node=4 training/a.py", "training/a.py"),
        ("python -m training.a --x", "training/a.py"),
        ("torchrun --nproc_per_node 4 -m training.a --x", "training/a.py"),
        ("accelerate launch --config_file conf.yaml -m training.a", "training/a.py"),
        ("SCRIPT=training/a.py\npython \"$SCRIPT\"", "training/a.py"),
        (
            "SCRIPT=\"training/a.py\"\nRUN=\"accelerate launch\"\n$RUN ${SCRIPT} --y",
            "training/a.py",
        ),
        (
            "ARGS=(--x 1)\nARGS+=(--y)\nCMD=(python training/a.py)\n\"${CMD[@]}\" \"${ARGS[@]}\"",
            "training/a.py",
        ),
        ("if true; then\n  PY=python3\nelse\n  PY=python\nfi\n$PY training/a.py", "training/a.py"),
        ("cd training && python a.py", "training/a.py"),
        (
            "ROOT=\"$(cd \"$(dirname \"${BASH_SOURCE[0]}\")/..\" && pwd)\"\npython $ROOT/training/a.py",
            "training/a.py",
        ),
        ("cd \"$(dirname \"$0\")/..\"\npython ./training/a.py", "training/a.py"),
        ("(cd training; python a.py)", "training/a.py"),
        ("( cd training && python a.py --x )\necho done", "training/a.py"),
        ("(cd data && make)\npython training/a.py", "training/a.py"),
        ("(cd data)\npython training/a.py", "training/a.py"),
        ("{ cd training; python a.py; }", "training/a.py"),
        ("pushd training > /dev/null\npython a.py\npopd", "training/a.py"),
        ("pushd data\nmake\npopd\npython training/a.py", "training/a.py"),
        ("if x; then cd training; python a.py; fi", "training/a.py"),
        ("if x; then cd data; fi\npython training/a.py", "training/a.py"),
        ("run() {\n  python training/a.py \"$1\"\n}\nrun x", "training/a.py"),
        ("case $1 in\n a) python training/a.py ;;\n *) echo no ;;\nesac", "training/a.py"),
        ("cat <<EOF\npython no.py\nEOF\npython training/a.py", "training/a.py"),
        ("python -c 'import torch'\npython training/a.py", "training/a.py"),
        ("pip install x\npython -m pip install y\npython training/a.py", "training/a.py"),
        ("yes | python training/a.py | tee log", "training/a.py"),
        ("python training/a.py 2>&1 | tee >(python scripts/clean.py)", "training/a.py"),
        ("eval \"python training/a.py --x\"", "training/a.py"),
        ("timeout 10m \\\n  python \\\n  training/a.py", "training/a.py"),
        ("python training/a.py\npython training/a.py --resume", "training/a.py"),
        ("S=training/a.py\nif x; then S=training/a.py; fi\npython $S", "training/a.py"),
    ] {
        check_shell(text, expected);
    }
}

#[test]
fn what_a_shell_launcher_does_not_tell_is_undecided_with_its_reason() {
    for (text, reason) in [
        ("python \"$SCRIPT\"", "`SCRIPT` comes from the environment"),
        ("python \"${SCRIPT:-training/a.py}\"", "else `training/a.py`"),
        ("python $1", "`$1` is known only when it runs"),
        ("S=a.py\nif x; then S=b.py; fi\npython $S", "`S` is set under a condition"),
        ("if x; then\n S=a.py\nelse\n S=b.py\nfi\npython $S", "`S` is set under a condition"),
        ("for S in a.py b.py; do python $S; done", "`S` runs over a list"),
        ("accelerate launch $(cat script.txt)", "the output of `cat script.txt`"),
        ("bash scripts/other.sh", "it runs another script, `scripts/other.sh`"),
        ("uv run $SCRIPT", "`SCRIPT` comes from the environment"),
        ("echo python training/a.py", "it starts no Python program"),
        ("", "it starts no Python program"),
        ("python a.py\npython b.py", "it starts several programs: a.py, b.py"),
    ] {
        let found = entry("scripts/train.sh", text).unwrap_err();
        assert!(found.contains(reason), "{text}: {found}");
    }
}

#[test]
fn powershell_launchers_in_many_forms() {
    for (text, expected) in [
        (
            "python training/a.py `\n    --hidden_size 256 `\n    --bf16\n\nWrite-Host \"done\"",
            "training/a.py",
        ),
        ("poetry run python training/a.py `\r\n    --x 1\r\n", "training/a.py"),
        ("& python \"training\\a.py\" --x", "training/a.py"),
        ("$script = 'training/a.py'\n& python $script @arguments", "training/a.py"),
        (
            "$Script = \"a.py\"\n$arguments = @(\n  \"training/$script\",\n  '--x', 1\n)\npython @arguments",
            "training/a.py",
        ),
        (
            "$root = Split-Path -Parent $PSScriptRoot\npython \"$root/training/a.py\"",
            "training/a.py",
        ),
        (
            "$r = Split-Path -Parent (Split-Path -Parent $MyInvocation.MyCommand.Path)\nSet-Location $r\npoetry run python training/a.py",
            "training/a.py",
        ),
        ("$p = Join-Path $PSScriptRoot \"..\\training\\a.py\"\npython $p", "training/a.py"),
        (
            "param (\n  [string]$Path = \"x.py\"\n)\n<# python no.py #>\n# python no.py\npython training/a.py --m $Path",
            "training/a.py",
        ),
        (
            "if (-not (Test-Path $x)) {\n  Write-Warning \"python no.py\"\n}\npython.exe training/a.py",
            "training/a.py",
        ),
        ("python -m training.a 2>&1 | Tee-Object -FilePath log", "training/a.py"),
        (
            "$env:WANDB_MODE = \"disabled\"\nRemove-Item Env:\\X -ErrorAction SilentlyContinue\npython training/a.py",
            "training/a.py",
        ),
    ] {
        check_powershell(text, expected);
    }
    for (text, reason) in [
        ("python $Script", "`$script` is not set in the script"),
        ("python $env:SCRIPT", "`$env:script` comes from the environment"),
        ("Write-Host python a.py", "it starts no Python program"),
    ] {
        let found = entry("scripts/train.ps1", text).unwrap_err();
        assert!(found.contains(reason), "{text}: {found}");
    }
}

/// Written by Windows PowerShell, whose first line is a command as likely as a comment.
#[test]
fn scripts_with_a_byte_order_mark_are_read() {
    let text = "python training/a.py `\r\n  --x 1\r\n";
    let utf_16 = |unit: fn(u16) -> [u8; 2]| {
        let units = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        units.flat_map(unit).collect::<Vec<u8>>()
    };
    for bytes in [
        text.as_bytes().to_vec(),
        [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        utf_16(u16::to_le_bytes),
        utf_16(u16::to_be_bytes),
    ] {
        check_powershell(&super::decoded(&bytes), "training/a.py");
    }
    assert_eq!(super::decoded(b"\xFF\xFEa"), "", "half a character");
}

#[test]
fn an_option_of_the_starting_program_is_no_part_of_a_value() {
    let text = "Start-Process python -ArgumentList \"a.py\",\"--learning_rate\",\"1e-4\",\"--x\",\"-1\" \
                -NoNewWindow -Wait";
    let launcher = launcher(Source { path: "scripts/train.ps1", text });
    let start = launcher.entry().unwrap();
    assert_eq!(
        (start.parameter("learning_rate"), start.parameter("x")),
        (Some("1e-4"), Some("-1"))
    );
}

#[test]
fn a_powershell_launcher_tells_its_plan() {
    let text = "python training/mlm_training.py `\n  --dataset_name \"Salesforce/wikitext\" `\n  \
                --dataset_name_subset \"wikitext-103-v1\" `\n  --per_device_train_batch_size 64 `\n  \
                --learning_rate 5e-4 `\n  --num_train_epochs 0.1 `\n  --report_to \"wandb\" 2>&1\n";
    let launcher = launcher(Source { path: "scripts/train_perceiver_mlm.ps1", text });
    let start = launcher.entry().unwrap();
    let plan = plan(start);
    assert_eq!(plan.data.as_deref(), Some("Salesforce/wikitext (wikitext-103-v1)"));
    assert_eq!(plan.parameters.as_deref(), Some("LR 5e-4, batch 64"));
    assert_eq!(plan.epochs.as_deref(), Some("0.1"));
    assert_eq!(plan.losses, None);
    assert_eq!(start.parameter("report_to"), Some("wandb"));
}

const HELPER: &str = r#"
import subprocess

def get_git_info() -> dict:
    """Returns commit and tag; `git_branch` may come later."""
    def _run(cmd):
        return subprocess.check_output(cmd).decode().strip()
    try:
        commit = _run(["git", "rev-parse", "--short", "HEAD"])
        return {
            "commit": commit,
            "commit_long": _run(["git", "rev-parse", "HEAD"]),
            "tag": _run(["git", "describe", "--tags"]),
            "dirty": bool(_run(["git", "status", "--porcelain"])),
        }
    except Exception:
        return {"commit": "unknown", "commit_long": "unknown", "tag": "unknown", "dirty": None}
"#;

/// Returns the answers for commit, tag and branch as one letter each.
fn letters(entry: &str, helper: &str) -> String {
    let wanted = ["git_commit", "git_tag", "git_branch"].map(str::to_owned);
    let entry = Source { path: "training/train.py", text: entry };
    let helper = Source { path: "training/utils_training.py", text: helper };
    let found = recording(entry, &[helper], &wanted);
    let letter = |answer: &Answer| match answer {
        Answer::Yes { .. } => 'y',
        Answer::No(_) => 'n',
        Answer::Undecided(_) => '?',
    };
    let all = [&found.git_info, &found.wandb_init].into_iter();
    all.chain(found.keys.iter().map(|(_, answer)| answer)).map(letter).collect()
}

#[test]
fn today_s_programs_record_commit_and_tag_and_no_branch() {
    for entry in [
        // As one dictionary in the call.
        "import wandb\nfrom training.utils_training import get_git_info\n\
         if is_main_process():\n    wandb.init(\n        project=\"P\",\n        config={\n            \
         \"hidden\": args.hidden,\n            **{f\"git_{k}\": v for k, v in get_git_info().items()},\n        \
         },\n        tags=[\"x\", \"y\"],\n    )\n",
        // Built before, with the attributes of an object.
        "def main():\n    if is_main:\n        wandb_config = {\n            'a': 1,  # git_branch\n            \
         **{f\"git_{k}\": v for k, v in get_git_info().items()},\n            \
         **{k: v for k, v in vars(args).items() if not k.startswith('_')}\n        }\n        \
         run = wandb.init(project='P', config=wandb_config)\n",
        // Put together in steps.
        "def main():\n    info = get_git_info()\n    config = dict(a=1)\n    \
         config.update({'git_' + k: v for k, v in info.items()})\n    wandb.init(config=config)\n",
        "def main():\n    config = {}\n    for key, value in get_git_info().items():\n        \
         config[f'git_{key}'] = value\n    wandb.init(config={**config})\n",
        // Put in after the start.
        "import wandb as w\ndef main():\n    run = w.init(config=vars(args))\n    git = get_git_info()\n    \
         run.config.update({'git_commit': git['commit'], 'git_tag': git['tag']})\n",
        "def main():\n    wandb.init()\n    g = get_git_info()\n    wandb.config['git_commit'] = g['commit']\n    \
         wandb.config.git_tag = g['tag']\n",
    ] {
        assert_eq!(letters(entry, HELPER), "yyyyn", "{entry}");
    }
}

#[test]
fn the_keys_are_those_that_the_function_returns() {
    let entry = "wandb.init(config={**{f'git_{k}': v for k, v in get_git_info().items()}})\n";
    let with_branch = "def get_git_info():\n    info = {'commit': c(), 'tag': t()}\n    \
                       info['branch'] = b()\n    return info\n";
    assert_eq!(letters(entry, with_branch), "yyyyy");
    let sometimes = "def get_git_info():\n    info = {'commit': c(), 'tag': t()}\n    \
                     if x:\n        info['branch'] = b()\n    return info\n";
    assert_eq!(letters(entry, sometimes), "yyyy?");
    let by_case = "def get_git_info():\n    if not inside():\n        return {}\n    if y:\n        \
                   return {'commit': c()}\n    return {'commit': c(), 'tag': t()}\n";
    assert_eq!(letters(entry, by_case), "yyy?n");
    // Not defined in any file that was read.
    assert_eq!(letters(entry, ""), "yy???");
}

#[test]
fn what_cannot_be_decided_is_said_to_be_undecided() {
    for (entry, expected) in [
        ("wandb.init(config=build(get_git_info()))\n", "yy???"),
        ("def main(config):\n    wandb.init(config=config)\n", "ny???"),
        ("wandb.init(**options)\n", "ny???"),
        ("if args.git:\n    config = {'git_commit': c}\nwandb.init(config=config)\n", "ny?nn"),
        ("config = {'git_commit': c, key(): 1}\nwandb.init(config=config)\n", "nyy??"),
        ("args = parse('git_branch')\nwandb.init(config=vars(args))\n", "nynn?"),
        // The attributes of what nobody names cannot be read from this.
        ("wandb.init(config=vars(args))\n", "nynnn"),
        ("trainer = Trainer(args=TrainingArguments(report_to=['wandb']))\n", "nnnnn"),
        ("# wandb.init(config=get_git_info())\nprint('wandb.init(')\n", "nnnnn"),
    ] {
        assert_eq!(letters(entry, HELPER), expected, "{entry}");
    }
}

#[test]
fn a_start_of_wandb_in_an_imported_function_counts_when_it_is_called() {
    let helper = "def start_wandb(extra):\n    config = {f'git_{k}': v for k, v in get_git_info().items()}\n    \
                  wandb.init(config=config)\n\ndef get_git_info():\n    return {'commit': 1, 'tag': 2}\n";
    assert_eq!(letters("from training.utils_training import *\nstart_wandb(1)\n", helper), "yyyyn");
    assert_eq!(letters("from training.utils_training import other\n", helper), "?????");
}

#[test]
fn imported_files_are_looked_for_beside_the_program_and_from_the_root() {
    let text = "import os, training.utils as u\nfrom nn.concept import Model\nfrom .near import x\n\
                from . import beside\nfrom ..up import z\n";
    let found = imports(Source { path: "training/train.py", text });
    for path in [
        "training/utils.py",
        "nn/concept.py",
        "nn/concept/Model.py",
        "training/nn/concept.py",
        "training/near.py",
        "training/beside.py",
        "up.py",
        "os/__init__.py",
    ] {
        assert!(found.iter().any(|one| one == path), "{path} in {found:?}");
    }
}

#[test]
fn no_text_is_too_odd_to_be_read() {
    let wanted = ["git_commit".to_owned()];
    let mut texts: Vec<String> = [DIFFUSION, HELPER].map(str::to_owned).to_vec();
    texts.extend(
        ["$(", "\"${", "`", "<<", "<#", "@(", "(((((", "}}}}", "'''", "f\"{", "\\", "é$é{"]
            .map(str::to_owned),
    );
    texts.push("$(".repeat(2_000));
    texts.push("wandb.init(config=a)\na = b\nb = a\n".to_owned());
    texts.push("def f():\n    return f()\nwandb.init(config=f())\n".to_owned());
    for text in &texts {
        let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        for end in ends.iter().step_by(1 + ends.len() / 200).chain([&text.len()]) {
            let text = text.get(..*end).unwrap();
            drop(launcher(Source { path: "a.sh", text }));
            drop(launcher(Source { path: "a.ps1", text }));
            let source = Source { path: "a.py", text };
            drop((recording(source, &[source], &wanted), imports(source)));
        }
    }
}

/// Each of these once took more memory or time than any machine has, or ended the stack.
#[test]
fn a_script_of_few_lines_cannot_grow_without_end() {
    let doubled = "A=\"$A$A\"\n".repeat(60);
    let text = format!("A=x\n{doubled}python a.py --x $A\n");
    let reason = "the script's variables come to too much to be followed";
    let shell = |text: &str| launcher(Source { path: "a.sh", text });
    let start = shell(&text).starts.remove(0);
    assert_eq!((start.entry.as_str(), &start.parameters[0].value), ("a.py", &Err(reason.into())));
    let doubled = "L=(\"${L[@]}\" \"${L[@]}\")\n".repeat(60);
    drop(shell(&format!("L=(x)\n{doubled}echo \"${{L[@]}}\"\n")));
    let doubled = "$a = \"$a$a\"\n".repeat(60);
    let text = format!("$a = 'x'\n{doubled}python a.py --x $a\n");
    let start = launcher(Source { path: "a.ps1", text: &text }).starts.remove(0);
    assert_eq!(start.parameters[0].value, Err(reason.to_owned()));
    // A reason is repeated with each use, a folder with each command.
    drop(shell(&format!("A=$({})\npython a.py{}\n", "x".repeat(20_000), " $A".repeat(20_000))));
    drop(shell(&"cd a\n".repeat(20_000)));
    drop(shell(&"L+=(x)\n".repeat(20_000)));
    // Nesting that is followed by a call of a function each.
    for path in ["a.sh", "a.ps1"] {
        drop(launcher(Source { path, text: &"eval ".repeat(20_000) }));
        drop(launcher(Source { path, text: &format!("x {}", "(".repeat(20_000)) }));
        drop(launcher(Source { path, text: &format!("$x = {}", "@(".repeat(20_000)) }));
    }
}

#[test]
fn a_program_of_few_lines_is_not_gone_through_without_end() {
    let text = "import wandb\na = {}\n".to_owned()
        + &"a.update(a)\n".repeat(200)
        + &format!("wandb.init(config={})\n", ["a"; 200].join(" | "));
    let read = recording(Source { path: "a.py", text: &text }, &[], &["git_tag".to_owned()]);
    assert_eq!(read.keys[0].1, Answer::Undecided("it is nested too deeply".to_owned()));
    let names: Vec<String> = (0..50_000).map(|number| format!("m{number}")).collect();
    let text = format!("import {}\n", names.join(", "));
    assert_eq!(imports(Source { path: "a.py", text: &text }).len(), 100_000);
}
