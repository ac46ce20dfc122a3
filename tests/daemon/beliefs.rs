//! What an analysis leaves, and what is made of it: each case in which a report must not be
//! believed, and each way in which a program can misbehave.

use std::collections::BTreeMap;

use crate::support::{FakeReport, Project};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";
const LOAD_REPORT: &str = include_str!("../fixtures/parse/stderr/load_report_transformers5.txt");

/// One checkpoint with what its analysis does, and what must come of it.
struct Case {
    name: &'static str,
    /// Changes a script that otherwise gives a healthy report.
    change: fn(&Project, &str),
    /// The cell *Verdict* of its row.
    verdict: &'static str,
    /// Stands in the cell *Note*.
    note: &'static str,
}

const fn case(
    name: &'static str,
    change: fn(&Project, &str),
    verdict: &'static str,
    note: &'static str,
) -> Case {
    Case { name, change, verdict, note }
}

/// Has all cases analyzed, one after the other, and compares the rows.
fn check(project: &Project, cases: &[Case]) {
    for (number, case) in cases.iter().enumerate() {
        let checkpoint = format!("checkpoint-{}", number + 1);
        project.script(&checkpoint, FakeReport::healthy());
        (case.change)(project, &checkpoint);
    }
    let daemon = project.start();
    for (number, _) in cases.iter().enumerate() {
        project.save(RUN, number as u64 + 1);
        daemon.wait_for_observations(number as u64 + 1);
    }
    project.assert_nothing_is_left();
    let rows: BTreeMap<String, Vec<String>> =
        project.observations().into_iter().map(|row| (row[2].clone(), row)).collect();
    for (number, case) in cases.iter().enumerate() {
        let row = &rows[&format!("`checkpoint-{}`", number + 1)];
        assert_eq!(row[7], case.verdict, "{}: {row:?}", case.name);
        let (note, name) = (&row[8], case.name);
        assert!(note.contains(case.note), "{name}: no `{}` in `{note}`", case.note);
    }
    assert_eq!(daemon.stop(), Some(0));
}

/// Replaces text in both forms of the report.
fn replace(project: &Project, checkpoint: &str, json: (&str, &str), text: (&str, &str)) {
    project.replace_in_script(checkpoint, "out.json", json.0, json.1);
    project.replace_in_script(checkpoint, "stdout.txt", text.0, text.1);
}

/// Cuts a file of the script in half.
fn halve(project: &Project, checkpoint: &str, name: &str) {
    let path = project.path("fake").join(checkpoint).join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let half: String = text.chars().take(text.chars().count() / 2).collect();
    std::fs::write(path, half).unwrap();
}

fn remove(project: &Project, checkpoint: &str, name: &str) {
    std::fs::remove_file(project.path("fake").join(checkpoint).join(name)).unwrap();
}

const INITIALIZED: &str = "Some weights of X were not initialized from the model checkpoint at p and \
                           are newly initialized: ['encoder.layers.0.Wi.bias']\n";

const BELIEFS: &[Case] = &[
    case("healthy", |_, _| {}, "pass", ""),
    case(
        "random encoder, transformers 4",
        |project, name| project.script_file(name, "stderr.txt", INITIALIZED),
        "unknown",
        "newly initialized",
    ),
    case(
        "a tied head is harmless",
        |project, name| {
            let harmless = INITIALIZED.replace("encoder.layers.0.Wi.bias", "lm_head.weight");
            project.script_file(name, "stderr.txt", &harmless);
        },
        "pass",
        "",
    ),
    case(
        "random encoder, transformers 5",
        |project, name| project.script_file(name, "stderr.txt", LOAD_REPORT),
        "unknown",
        "newly initialized",
    ),
    case(
        "random encoder, said on standard output",
        |project, name| {
            project.replace_in_script(name, "stdout.txt", "Device: cpu\n", LOAD_REPORT);
        },
        "unknown",
        "newly initialized",
    ),
    case(
        "JSON of another checkpoint",
        |project, name| {
            project.replace_in_script(name, "out.json", "@MODEL_PATH@", "/p/run/checkpoint-9");
        },
        "unknown",
        "the model path is",
    ),
    case(
        "report of another checkpoint in both forms",
        |project, name| {
            let other = ("@MODEL_PATH@", "/p/run/checkpoint-9");
            replace(project, name, other, other);
        },
        "unknown",
        "another checkpoint",
    ),
    case(
        "report of another model type",
        |project, name| {
            let other = ("@MODEL_TYPE@", "weighted_mlm");
            replace(project, name, other, other);
        },
        "unknown",
        "model type weighted_mlm",
    ),
    case(
        "rank differs between the forms",
        |project, name| project.replace_in_script(name, "out.json", "20.0", "21.0"),
        "unknown",
        "global_effective_rank",
    ),
    case(
        "similarity differs between the forms",
        |project, name| project.replace_in_script(name, "stdout.txt", "0.2286", "0.2386"),
        "unknown",
        "mean_concept_similarity",
    ),
    case(
        "batches differ between the forms",
        |project, name| {
            project.replace_in_script(name, "out.json", "_batches\": 3", "_batches\": 4");
        },
        "unknown",
        "number of batches",
    ),
    case(
        "NaN",
        |project, name| replace(project, name, ("20.0", "NaN"), ("20.0000", "nan")),
        "unknown",
        "",
    ),
    case(
        "NaN in the JSON alone",
        |project, name| project.replace_in_script(name, "out.json", "20.0", "NaN"),
        "unknown",
        "not finite in the JSON",
    ),
    case(
        "a rank of zero",
        |project, name| replace(project, name, ("20.0", "0.0"), ("20.0000", "0.0000")),
        "unknown",
        "is 0",
    ),
    case(
        "a report of zero batches",
        |project, name| {
            let text = ("analysed: 3", "analysed: 0");
            replace(project, name, ("_batches\": 3", "_batches\": 0"), text);
        },
        "unknown",
        "zero batches",
    ),
    case(
        "fewer batches than asked",
        |project, name| {
            let text = ("analysed: 3", "analysed: 2");
            replace(project, name, ("_batches\": 3", "_batches\": 2"), text);
        },
        "unknown",
        "2 batches, not 3",
    ),
    case(
        "sizes that contradict the configuration",
        |project, name| {
            project.replace_in_script(name, "stdout.txt", "(C)    : 128", "(C)    : 64");
        },
        "unknown",
        "config.json",
    ),
    case(
        "half a JSON beside a whole text",
        |project, name| halve(project, name, "out.json"),
        "pass",
        "",
    ),
    case(
        "no JSON beside a whole text",
        |project, name| remove(project, name, "out.json"),
        "pass",
        "",
    ),
    case(
        "half a JSON and no text",
        |project, name| {
            halve(project, name, "out.json");
            remove(project, name, "stdout.txt");
        },
        "analysis failed",
        "no_report",
    ),
    case(
        "half a JSON and half a text",
        |project, name| {
            halve(project, name, "out.json");
            halve(project, name, "stdout.txt");
        },
        "analysis failed",
        "no_report",
    ),
    case(
        "a report that an earlier analysis left behind",
        |project, name| {
            let left = project.path("Cache/runscribe/reports").join(RUN).join(name);
            std::fs::create_dir_all(&left).unwrap();
            let script = project.path("fake").join(name);
            let report = std::fs::read_to_string(script.join("out.json")).unwrap();
            std::fs::write(left.join("report.json"), report).unwrap();
            remove(project, name, "out.json");
            remove(project, name, "stdout.txt");
        },
        "analysis failed",
        "no_report",
    ),
];

#[test]
fn what_did_not_measure_the_model_is_never_a_pass() {
    let project = Project::new();
    project.set_timeout("30s", 0);
    let configured = "[analysis]\nargs = [\"--num_batches\", \"3\"]\n";
    let text = std::fs::read_to_string(project.path("runscribe.toml")).unwrap();
    project.configure(&text.replacen("[analysis]\n", configured, 1));
    check(&project, BELIEFS);
}

const MISBEHAVIORS: &[Case] = &[
    case(
        "hangs and ignores TERM",
        |project, name| project.script_file(name, "hang", ""),
        "analysis failed",
        "deadline",
    ),
    case("healthy, after a hang", |_, _| {}, "pass", ""),
    case(
        "leaves a daemon and a process behind",
        |project, name| {
            project.script_file(name, "daemonize", "");
            project.script_file(name, "background", "");
        },
        "pass",
        "",
    ),
    case(
        "leaves a daemon behind and hangs",
        |project, name| {
            project.script_file(name, "daemonize", "");
            project.script_file(name, "hang", "");
        },
        "analysis failed",
        "deadline",
    ),
    case(
        "prints without end",
        |project, name| project.script_file(name, "print", "endless"),
        "analysis failed",
        "deadline",
    ),
    case(
        "prints NUL and invalid UTF-8 beside its report",
        |project, name| project.script_file(name, "bytes", ""),
        "pass",
        "",
    ),
    case(
        "prints NUL and invalid UTF-8 and fails",
        |project, name| {
            project.script_file(name, "bytes", "");
            project.script_file(name, "exit", "1");
        },
        "analysis failed",
        "unknown",
    ),
    case(
        "is killed",
        |project, name| project.script_file(name, "signal", "KILL"),
        "analysis failed",
        "killed",
    ),
    case(
        "crashes",
        |project, name| project.script_file(name, "signal", "SEGV"),
        "analysis failed",
        "killed",
    ),
    case(
        "runs out of GPU memory",
        |project, name| {
            let line = "torch.cuda.OutOfMemoryError: CUDA out of memory.\n";
            project.script_file(name, "stderr.txt", line);
            project.script_file(name, "exit", "1");
        },
        "analysis failed",
        "out_of_memory",
    ),
    case(
        "exits 0 without a report",
        |project, name| {
            remove(project, name, "out.json");
            remove(project, name, "stdout.txt");
        },
        "analysis failed",
        "no_report",
    ),
    case("healthy, after all that", |_, _| {}, "pass", ""),
];

#[test]
fn every_misbehavior_ends_in_its_class_and_the_queue_moves_on() {
    let project = Project::new();
    // What fails is not tried again, so that its class becomes a row at once.
    project.set_timeout("5s", 0);
    let text = std::fs::read_to_string(project.path("runscribe.toml")).unwrap();
    project.configure(&text.replacen("[analysis]\n", "[analysis]\nretry_for = \"0s\"\n", 1));
    check(&project, MISBEHAVIORS);
}

/// The probe takes the script's options, and was once not believed because it reports no batches.
#[test]
fn the_embedded_probe_is_not_asked_for_batches() {
    let project = Project::new();
    project.configure(
        "[analysis]\nargs = [\"--num_batches\", \"20\"]\nnice = 0\n[[gates]]\n\
         name = \"effective-rank\"\nmeasurement = \"embedding_weight_rank\"\nmin = 10.0\n",
    );
    let daemon = project.start();
    project.save(RUN, 1);
    daemon.wait_for_observations(1);
    let row = &project.observations()[0];
    assert_eq!(row[7], "pass", "{row:?}");
    assert_eq!(daemon.stop(), Some(0));
}
