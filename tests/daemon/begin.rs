//! From `begin` to the run that appears: tag, pending row, and the row that becomes the run's.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Project, code, err, out, wait};

const BASE: &str = "diffusion_H64L2C128D2";
/// Started after everything that these tests begin.
const RUN: &str = "diffusion_H64L2C128D2_20991231_235959";
pub(crate) const SCRIPT: &str = "scripts/train_diffusion_multigpu.sh";
const LOG: &str = "# Log\n\n## Training Runs\n\n| Date | Run ID / Model Type | Architecture | Pretraining \
                   Data | Machine | Epochs | Concept Losses | Task Loss | Eff. Rank | Key GLUE Scores | Speed \
                   (Steps/s) | WandB Link | Git Tag | Conclusion / Takeaway |\n\
                   |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n\nProse that stays.\n";

pub(crate) fn git(root: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(root).env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    out(&output).trim().to_owned()
}

/// Makes a project of the usual form under git, everything committed.
pub(crate) fn project() -> Project {
    let project = Project::new();
    let root = project.root();
    let write = |name: &str, text: &str| {
        let path = project.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(".gitignore", "Cache/\nfake/\ndaemon.log\n");
    write(
        SCRIPT,
        "#!/bin/bash\nLR=3e-4\naccelerate launch \\\n  --num_processes=4 \\\n  \
         training/train_diffusion.py \\\n  --learning_rate \"$LR\" \\\n  --lr_scheduler_type cosine \\\n  \
         --per_device_train_batch_size 64 \\\n  --gradient_accumulation_steps 2 \\\n  \
         --num_train_epochs 20 \\\n  --dataset_name JeanKaddour/minipile\n",
    );
    write(
        "training/train_diffusion.py",
        "import wandb\nfrom training.utils_training import get_git_info\n\nwandb.init(\n    config={\n        \
         **{f\"git_{k}\": v for k, v in get_git_info().items()},\n    },\n)\n",
    );
    write(
        "training/utils_training.py",
        "def get_git_info():\n    return {\"commit\": c(), \"commit_long\": l(), \"tag\": t(), \"dirty\": d()}\n",
    );
    fs::write(project.log_path(), LOG).unwrap();
    git(&root, &["init", "-q", "-b", "main"]);
    git(&root, &["config", "user.name", "A Person"]);
    git(&root, &["config", "user.email", "person@example.org"]);
    git(&root, &["add", "."]);
    git(&root, &["commit", "-qm", "feat: begin"]);
    project
}

fn tags(project: &Project) -> Vec<String> {
    git(&project.root(), &["tag", "--list"]).lines().map(str::to_owned).collect()
}

/// The checks of a project of the usual form, whose programs record no branch.
fn says_what_was_found(said: &str) {
    for part in [
        "checkout: clean",
        "starts `training/train_diffusion.py`",
        "`git_branch` is not recorded in W&B",
        "let `get_git_info()` return `branch` as well",
        "tag made: train/diffusion_H64L2C128D2_",
        "PENDING: LR 3e-4 cosine, batch 512 |",
    ] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
    assert!(!said.contains("`git_tag` is not recorded"), "{said}");
}

#[test]
fn a_training_that_is_begun_becomes_the_run_that_appears() {
    let project = project();
    let begin = ["begin", BASE, "--script", SCRIPT];
    let planned = project.run(&[&begin[..], &["--dry-run"]].concat());
    assert_eq!(code(&planned), 0, "{}", err(&planned));
    assert_eq!((tags(&project), project.log()), (Vec::new(), LOG.to_owned()));
    let ended = project.run(&begin);
    assert_eq!(code(&ended), 0, "{}", err(&ended));
    let said = out(&ended);
    says_what_was_found(&said);
    // The dry run printed the same change.
    let change = |text: &str| {
        let lines = text.lines().filter(|line| line.starts_with("+|")).map(str::to_owned);
        lines.collect::<Vec<String>>()
    };
    assert_eq!(change(&out(&planned)), change(&said));
    let tag = tags(&project).first().cloned().unwrap();
    assert_eq!(git(&project.root(), &["cat-file", "-t", &tag]), "tag");
    let row = change(&said).first().unwrap().trim_start_matches('+').to_owned();
    assert_eq!(project.log(), LOG.replace("\n\nProse", &format!("\n{row}\n\nProse")));
    assert!(row.contains("| H64 L2 C128 | JeanKaddour/minipile |"), "{row}");
    assert!(row.contains("| 20 |") && row.contains(&format!("| `{tag}` |")), "{row}");

    // Once more is the same start, and changes nothing.
    let before = project.log();
    let again = project.run(&begin);
    assert_eq!(code(&again), 0, "{}", err(&again));
    assert!(
        out(&again).contains("row: stands in the log and waits for its run"),
        "{}",
        out(&again)
    );
    assert_eq!((tags(&project).len(), project.log()), (1, before));

    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    wait("the row to be the run's and filled", || {
        let log = project.log();
        log.contains(&format!("| `{RUN}` | H64 L2 C128 |")) && log.contains("**20.0 / 128**")
    });
    let explained =
        project.run(&["explain", project.path("Cache/Training").join(RUN).to_str().unwrap()]);
    let sentence = format!("It is the training that was begun as `{tag}`.");
    assert!(out(&explained).contains(&sentence), "{}", out(&explained));
    let log = project.log();
    assert!(!log.contains(&format!("`{BASE}`")), "{log}");
    let rows = log.lines().filter(|line| line.contains(RUN) && line.contains("H64 L2 C128"));
    assert_eq!(rows.count(), 1, "{log}");
    assert!(log.contains("| PENDING: LR 3e-4 cosine, batch 512 |"), "{log}");
    assert!(log.contains("\nProse that stays.\n"), "{log}");

    // What runscribe wrote is no change of the checkout; the next start is another one.
    let second = project.run(&begin);
    assert_eq!(code(&second), 0, "{}", err(&second));
    assert_eq!(tags(&project), [tag.clone(), format!("{tag}-2")]);
    assert!(project.log().contains(&format!("| `{BASE}` |")), "{}", project.log());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_failing_run_ends_what_was_pending_unless_a_person_wrote_there() {
    let project = project();
    let begun = project.run(&["begin", BASE, "--script", SCRIPT, "--params", "LR 1e-3"]);
    assert_eq!(code(&begun), 0, "{}", err(&begun));
    project.script("default", crate::support::FakeReport::with_rank(4.0));
    let daemon = project.start();
    project.save(RUN, 20);
    wait("the conclusion", || project.log().contains("| **FAILED: effective rank 4.0"));
    let log = project.log();
    assert!(!log.contains("PENDING") && log.contains(&format!("| `{RUN}` |")), "{log}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn what_stands_in_the_way_is_said_and_nothing_is_written() {
    let project = project();
    let refused = |arguments: &[&str], reason: &str| {
        let ended = project.run(&[&["begin"], arguments].concat());
        assert_eq!(code(&ended), 1, "{}{}", out(&ended), err(&ended));
        assert!(err(&ended).contains(reason), "no {reason} in {}", err(&ended));
        assert_eq!(tags(&project), Vec::<String>::new());
        assert!(!project.log().contains("PENDING"), "{}", project.log());
    };
    refused(&[RUN, "--script", SCRIPT], "leave it out");
    refused(&[BASE, "--script", "scripts/no.sh"], "there is no script");
    refused(&[BASE, "--script", "training/train_diffusion.py"], "is not registered");
    let merging = project.path(".git/MERGE_HEAD");
    fs::write(&merging, "").unwrap();
    refused(&[BASE, "--script", SCRIPT], "a merge is unfinished");
    fs::remove_file(merging).unwrap();
    fs::write(project.path("training/new.py"), "").unwrap();
    refused(&[BASE, "--script", SCRIPT], "the checkout has changes: training/new.py");
    fs::remove_file(project.path("training/new.py")).unwrap();
    fs::write(project.log_path(), LOG.replace("Prose", "My prose")).unwrap();
    refused(&[BASE, "--script", SCRIPT], "master_experiment_log.md");
    refused(&[BASE, "--script", SCRIPT, "--allow-dirty", "--push"], "there is no remote");
    // A log that cannot be written leaves the tag, says so, and is written by the same command later.
    fs::write(project.log_path(), format!("{LOG}\n```\n")).unwrap();
    let allowed = project.run(&["begin", BASE, "--script", SCRIPT, "--allow-dirty"]);
    assert_eq!(code(&allowed), 0, "{}", err(&allowed));
    assert!(out(&allowed).contains("the commit is not what is trained"), "{}", out(&allowed));
    assert!(project.log().contains("PENDING: LR 3e-4"), "{}", project.log());
}

#[test]
fn a_start_that_was_cut_off_goes_on_with_its_tag() {
    let project = project();
    let begin = ["begin", BASE, "--script", SCRIPT];
    assert_eq!(code(&project.run(&begin)), 0);
    let (log, all) = (project.log(), tags(&project));
    // As if it had ended between the tag and the row, and before the tag. What it was about to
    // write is no change of the checkout.
    fs::write(project.log_path().with_file_name(".1-2-3.runscribe-part"), "half").unwrap();
    let noted =
        project.path("Cache/runscribe/begun").join(format!("{}.row", all[0].replace('/', "+")));
    fs::remove_file(&noted).unwrap();
    fs::write(project.log_path(), LOG).unwrap();
    assert_eq!(code(&project.run(&begin)), 0);
    assert_eq!((project.log(), tags(&project)), (log.clone(), all.clone()));
    fs::remove_file(&noted).unwrap();
    fs::write(project.log_path(), LOG).unwrap();
    git(&project.root(), &["tag", "-d", &all[0]]);
    assert_eq!(code(&project.run(&begin)), 0);
    assert_eq!((project.log(), tags(&project)), (log, all));
    // With a remote the tag goes there.
    let remote = project.path("Cache/remote.git");
    git(&project.root(), &["init", "-q", "--bare", remote.to_str().unwrap()]);
    git(&project.root(), &["remote", "add", "origin", remote.to_str().unwrap()]);
    let pushed = project.run(&[&begin[..], &["--push"]].concat());
    assert_eq!(code(&pushed), 0, "{}", err(&pushed));
    assert_eq!(git(&remote, &["tag", "--list"]), tags(&project)[0]);
}
