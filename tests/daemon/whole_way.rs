//! The whole way of a training: begun, trained, judged, evaluated, reported, published.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use jiff::Zoned;

use crate::begin::{self, git};
use crate::support::{FakeReport, Project, TIME_ZONE, code, err, out, wait};

const BASE: &str = "diffusion_H64L2C128D2";
const EVALUATION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/evaluation/fake_glue");
const UPLOAD: &str = "scripts/upload.sh";

/// Returns the time where the daemons of the tests believe to be; run ids are in local time.
fn now() -> Zoned {
    Zoned::now().in_tz(TIME_ZONE).unwrap()
}

/// Returns the cells of the run's row.
fn row(project: &Project, run: &str) -> Vec<String> {
    let log = project.log();
    let line = log.lines().find(|line| line.contains(run) && line.contains("H64 L2 C128"));
    let cells = line.unwrap_or_default().trim_matches('|').split('|');
    cells.map(|cell| cell.trim().to_owned()).collect()
}

/// Adds evaluation and upload programs, and a remote.
fn project() -> Project {
    let project = begin::project();
    let root = project.root();
    fs::copy(EVALUATION, project.path("scripts/evaluate_concept_encoder_glue.sh")).unwrap();
    fs::write(
        project.path(UPLOAD),
        "#!/bin/sh\necho \"uploading $2\"\necho \"$@\" >> Cache/uploaded\n",
    )
    .unwrap();
    fs::set_permissions(project.path(UPLOAD), fs::Permissions::from_mode(0o755)).unwrap();
    project.append_configuration(
        &format!("[publish]\ncommand = [\"{{root}}/{UPLOAD}\", \"--run-name\", \"{{run_id}}\"]\n")
            .replace("{root}", &root.display().to_string()),
    );
    fs::write(project.path(".gitignore"), "Cache/\nfake/\ndaemon.log\nfake_glue*\n").unwrap();
    git(&root, &["add", "."]);
    git(&root, &["commit", "-qm", "feat: evaluate and upload"]);
    git(&root, &["init", "-q", "--bare", "Cache/remote.git"]);
    git(&root, &["remote", "add", "origin", "Cache/remote.git"]);
    git(&root, &["push", "-q", "origin", "main"]);
    project
}

fn one_task_fails_and_the_others_are_scored(project: &Project, run: &str) {
    fs::write(project.path("fake_glue_fails"), "qqp\n").unwrap();
    let evaluated = project.run(&["evaluate", run]);
    assert_eq!(code(&evaluated), 1, "{}{}", out(&evaluated), err(&evaluated));
    assert!(out(&evaluated).contains("4 of 5 tasks have a report"), "{}", out(&evaluated));
    let scores = row(project, run).get(9).cloned().unwrap();
    assert!(scores.starts_with("**MRPC:** 82.2% <br> **STS-B:** 0.650"), "{scores}");
    fs::remove_file(project.path("fake_glue_fails")).unwrap();
    for number in ["", "-2"] {
        let again = project.run(&["evaluate", run, "--task", "qqp", "--tag"]);
        assert_eq!(code(&again), 0, "{}{}", out(&again), err(&again));
        let made = format!("tag made: eval/glue_{}{number} on ", now().strftime("%Y%m%d"));
        assert!(out(&again).contains(&made), "no {made} in {}", out(&again));
    }
}

#[test]
fn from_begin_to_publish() {
    let project = project();
    let begun = project.run(&["begin", BASE, "--script", begin::SCRIPT]);
    assert_eq!(code(&begun), 0, "{}", err(&begun));
    let tag = git(&project.root(), &["tag", "--list"]);

    // Training: the run appears a moment later, is tied to the row, and ends well. It began after
    // midnight, so that its day is not that of the tag.
    let now = now().checked_add(jiff::Span::new().days(1)).unwrap();
    let run = format!("{BASE}_{}", now.strftime("%Y%m%d_%H%M%S"));
    let daemon = project.start();
    project.script("default", FakeReport::with_rank(20.0));
    project.save(&run, 20);
    project.save_final(&run, 20);
    daemon.wait_for_observations(2);
    wait("the row to be the run's", || {
        let cells = row(&project, &run);
        cells.get(8).is_some_and(|rank| rank.contains("**20.0 / 128**"))
            && cells.get(12).is_some_and(|cell| *cell == format!("`{tag}`"))
    });
    let cells = row(&project, &run);
    assert_eq!(cells[3], "JeanKaddour/minipile", "{cells:?}");
    assert_eq!(cells[13], "PENDING: LR 3e-4 cosine, batch 512", "{cells:?}");
    assert!(!project.log().contains(&format!("`{BASE}`")), "{}", project.log());
    let lacks = project.run(&["publish", &run, "--dry-run"]);
    assert_eq!(code(&lacks), 3, "{}{}", out(&lacks), err(&lacks));
    for part in [
        "ok: verdict of the final model: pass",
        &format!(
            "missing: no evaluation report of the final model has a score: `runscribe evaluate {run}`"
        ),
        &format!("missing: there is no run report: `runscribe report {run}`"),
        &format!("missing: git tag {tag} is not at origin: `git push origin refs/tags/{tag}`"),
    ] {
        assert!(out(&lacks).contains(part), "no {part} in\n{}", out(&lacks));
    }

    one_task_fails_and_the_others_are_scored(&project, &run);
    let reported = project.run(&["report", &run]);
    assert_eq!(code(&reported), 0, "{}", err(&reported));
    assert!(
        out(&reported).contains("MRPC") || out(&reported).contains("mrpc"),
        "{}",
        out(&reported)
    );
    git(&project.root(), &["push", "-q", "origin", &format!("refs/tags/{tag}")]);

    // Publication: nothing is missing any more.
    let ready = project.run(&["publish", &run, "--dry-run"]);
    assert_eq!(code(&ready), 0, "{}{}", out(&ready), err(&ready));
    assert!(!out(&ready).contains("missing"), "{}", out(&ready));
    assert!(!project.path("Cache/uploaded").exists());
    let asked = project.run(&["publish", &run]);
    assert_eq!(code(&asked), 2, "nobody is there to be asked: {}", err(&asked));
    let published = project.run(&["publish", &run, "--yes"]);
    assert_eq!(code(&published), 0, "{}{}", out(&published), err(&published));
    let uploaded = fs::read_to_string(project.path("Cache/uploaded")).unwrap();
    assert_eq!(uploaded, format!("--run-name {run}\n"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_model_that_lacks_something_is_published_only_with_a_reason_and_a_failed_upload_fails() {
    let project = project();
    let run = format!("{BASE}_20260223_203349");
    project.script("default", FakeReport::with_rank(2.0));
    project.save(&run, 20);
    project.save_final(&run, 20);
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    let refused = project.run(&["publish", &run, "--yes"]);
    assert_eq!(code(&refused), 3, "{}", err(&refused));
    assert!(
        out(&refused).contains("missing: verdict of the final model: fail"),
        "{}",
        out(&refused)
    );
    let unknown = project.run(&["publish", "nope", "--yes", "--override", "for the review"]);
    assert_eq!((code(&unknown), out(&unknown).as_str()), (1, ""));
    assert!(err(&unknown).contains("nothing is recorded of a run `nope`"), "{}", err(&unknown));
    assert_eq!(code(&project.run(&["publish", &run, "--yes", "--override", " "])), 2);
    assert!(!project.path("Cache/uploaded").exists());
    let overridden = project.run(&["publish", &run, "--yes", "--override", "for the review"]);
    assert_eq!(code(&overridden), 0, "{}{}", out(&overridden), err(&overridden));
    assert!(project.path("Cache/uploaded").exists());
    // The next daemon tells of it.
    let daemon = project.start();
    wait("the event", || {
        daemon.events().iter().any(|event| event.to_string().contains("for the review"))
    });
    fs::write(project.path(UPLOAD), "#!/bin/sh\necho \"no token\"\nexit 7\n").unwrap();
    let failed = project.run(&["publish", &run, "--yes", "--override", "again"]);
    assert_eq!(code(&failed), 1, "{}", out(&failed));
    assert!(err(&failed).contains("the upload failed (exit 7): no token"), "{}", err(&failed));
    assert_eq!(daemon.stop(), Some(0));
}
