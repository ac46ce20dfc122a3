//! Reports in the real forms, and whatever else may lie there.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::model::ids::RunId;

const RUN: &str = "perceiver_mlm_H512L6C128_20260208_211633";
const STEM: &str = "glue-mrpc-perceiver-mlm-h512l6c128-20260208-211633-42M-20260222_1012";
const SUMMARY: &str = "experiment_name,model_name,task,main_metric,score,total_params,training_time_min,date,wandb_url
glue-mrpc-perceiver-42M-20260222_1012,Cache/Training/perceiver_mlm_H512L6C128_20260208_211633/perceiver_mlm_H512L6C128_20260208_211633,mrpc,accuracy,0.7107843137254902,42123456,3.21,2026-02-22,https://wandb.ai/x/MrCogito/runs/1
";
const RESULTS: &str = "experiment_id,experiment_name,model_name,model_type,task,metric,score,date,timestamp,wandb_url,total_params,training_time_seconds,eval_time_seconds
1,e,Cache/Training/perceiver_mlm_H512L6C128_20260208_211633/perceiver_mlm_H512L6C128_20260208_211633,perceiver_decoder_cls,mrpc,loss,0.61,2026-02-22,20260222_1012,https://wandb.ai/x/MrCogito/runs/1,42123456,192.6,1.1
1,e,Cache/Training/x,perceiver_decoder_cls,mrpc,accuracy,0.7107843137254902,2026-02-22,20260222_1012,,42123456,192.6,1.1
1,e,Cache/Training/x,perceiver_decoder_cls,mrpc,f1,0.8216783216783217,2026-02-22,20260222_1012,,42123456,192.6,1.1
1,e,Cache/Training/x,perceiver_decoder_cls,mrpc,sklearn_f1_score,0.5,2026-02-22,20260222_1012,,42123456,192.6,1.1
1,e,Cache/Training/x,perceiver_decoder_cls,mrpc,samples_per_second,812.1,2026-02-22,20260222_1012,,42123456,192.6,1.1
";
const METADATA: &str = "experiment_id,experiment_name,wandb_url,wandb_project,source_training_run_id,architecture_tag,model_name,model_type,task,model_specific_notes
1,e,https://wandb.ai/x/MrCogito/runs/1,MrCogito,perceiver_mlm_H512L6C128_20260208_211633,perceiver_mlm_H512L6C128,Cache/Training/perceiver_mlm_H512L6C128_20260208_211633,perceiver_decoder_cls,mrpc,\"a, \"\"b\"\"; c
d\"
";

fn name(file: &str) -> FileName {
    FileName::parse(file).unwrap().0
}

fn glue(task: &str) -> FileName {
    name(&format!("glue-{task}-m-42M-20260222_1012-summary.csv"))
}

fn linked(report: &EvaluationReport) -> Result<(String, String), String> {
    let known = [RunId::new(RUN), RunId::new("mlm_old_names")];
    let clean = |wanted: &str| {
        let mut found = known.iter().filter(|run| clean_name(run.as_str()) == wanted);
        found.next().cloned().filter(|_| found.next().is_none())
    };
    let model = model_of(report, &|run| known.contains(run), &clean)?;
    Ok((model.run.to_string(), model.checkpoint.to_string()))
}

#[test]
fn names_tell_task_model_and_time() {
    let check = |file: &str, expected: &Expect| {
        let shown = FileName::parse(file).map(|(name, part)| {
            format!("{:?} {part:?} {} / {} / {}", name.suite, name.task, name.model, name.stamp)
        });
        expected.assert_eq(&shown.unwrap_or_else(|| "none".into()));
    };
    check(
        &format!("{STEM}-summary.csv"),
        &expect![
            "Glue Summary mrpc / perceiver-mlm-h512l6c128-20260208-211633 / 2026-02-22T10:12:00"
        ],
    );
    check(
        "glue-mnli-mismatched-m-7M-20260222_1012-results.csv",
        &expect!["Glue Results mnli-mismatched / m / 2026-02-22T10:12:00"],
    );
    check(
        "glue-all-tasks-m-7M-20260222_1012-metadata.csv",
        &expect!["Glue Metadata all-tasks / m / 2026-02-22T10:12:00"],
    );
    check(
        &format!("bench-sick_relatedness-{RUN}-42M-enc-20260222_1012-results.csv"),
        &expect![
            "Benchmark Results sick_relatedness / perceiver_mlm_H512L6C128_20260208_211633 / 2026-02-22T10:12:00"
        ],
    );
    check(
        "bench-paws-checkpoint-5000-42M-20260222_1012-results.csv",
        &expect!["Benchmark Results paws / checkpoint-5000 / 2026-02-22T10:12:00"],
    );
    for other in [
        "glue-mrpc-m-42M-20260222_1012-summary.csv.tmp",
        ".glue-mrpc-m-42M-20260222_1012-summary.csv",
        "glue-mrpc-m-42M-20261322_1012-summary.csv",
        "glue-mrpc-m-42M-summary.csv",
        "bapo-x-20260222_1012-results.csv",
        "glue_runs.csv",
        "",
    ] {
        check(other, &expect!["none"]);
    }
}

#[test]
fn all_three_files_make_one_report_with_f1_beside_accuracy() {
    let files = Files {
        results: Some(RESULTS.as_bytes()),
        metadata: Some(METADATA.as_bytes()),
        summary: Some(SUMMARY.as_bytes()),
    };
    let reading = read(&name(&format!("{STEM}-results.csv")), files);
    assert_eq!(reading.problems, Vec::<String>::new());
    let [report] = reading.reports.as_slice() else { panic!("{reading:?}") };
    assert_eq!(report.headline(), Some((F1, 0.821_678_321_678_321_7)));
    assert_eq!(report.scores.get(ACCURACY), Some(&0.710_784_313_725_490_2));
    assert_eq!(report.main_metric.as_deref(), Some(ACCURACY));
    assert_eq!(report.model_type.as_deref(), Some("perceiver_decoder_cls"));
    assert_eq!(report.wandb_url.as_deref(), Some("https://wandb.ai/x/MrCogito/runs/1"));
    assert_eq!(report.problems, Vec::<String>::new());
    assert_eq!(linked(report), Ok((RUN.into(), "final".into())));
    // The summary alone knows no F1, and says so by its measure's name.
    let alone = Files { summary: Some(SUMMARY.as_bytes()), ..Files::default() };
    let reading = read(&name(&format!("{STEM}-summary.csv")), alone);
    assert_eq!(reading.reports[0].headline(), Some((ACCURACY, 0.710_784_313_725_490_2)));
    assert_eq!(linked(&reading.reports[0]), Ok((RUN.into(), "final".into())));
}

#[test]
fn a_sweep_in_one_file_has_a_report_for_each_task() {
    let summary = "task,main_metric,score\nmrpc,f1,0.8\nstsb,pearsonr,0.65\nqqp,f1,\n";
    let reading = read(
        &name("glue-all-tasks-m-42M-20260222_1012-summary.csv"),
        Files { summary: Some(summary.as_bytes()), ..Files::default() },
    );
    let shown: Vec<_> = reading
        .reports
        .iter()
        .map(|one| (one.task.as_str(), one.headline(), one.problems.len()))
        .collect();
    let expected =
        [("mrpc", Some((F1, 0.8)), 0), ("qqp", None, 1), ("stsb", Some((PEARSON, 0.65)), 0)];
    assert_eq!(shown, expected);
}

#[test]
fn benchmarks_have_one_wide_row() {
    let path = format!("/home/u/p/Cache/Training/{RUN}/checkpoint-5000/");
    let row = |extra: &str, values: &str| {
        format!(
            "benchmark,model_type,model_path,params_m,train_time_s,loss{extra},runtime\r\n\
             sick_relatedness,perceiver_mlm,{path},42,81.5,0.02{values},3.4\r\n"
        )
    };
    let text = row(",pearsonr,spearmanr", ",0.7123,0.6901");
    let file = name("bench-sick_relatedness-checkpoint-5000-42M-20260222_1012-results.csv");
    let reading = read(&file, Files { results: Some(text.as_bytes()), ..Files::default() });
    let report = &reading.reports[0];
    assert_eq!(report.headline(), Some((PEARSON, 0.7123)));
    assert_eq!(report.scores.get(SPEARMAN), Some(&0.6901));
    assert_eq!(linked(report), Ok((RUN.into(), "checkpoint-5000".into())));
    let text = row(",accuracy,f1", ",0.8812,0.8701");
    let file = name("bench-paws-checkpoint-5000-42M-20260222_1012-results.csv");
    let reading = read(&file, Files { results: Some(text.as_bytes()), ..Files::default() });
    assert_eq!(reading.reports[0].task, "sick_relatedness", "the row knows better");
    assert_eq!(reading.reports[0].headline(), Some((ACCURACY, 0.8812)));
}

#[test]
fn a_run_is_found_by_metadata_by_path_or_by_the_files_name_and_never_guessed() {
    let report = |claimed: Option<&str>, model: Option<&str>, named: &str| EvaluationReport {
        claimed_run: claimed.map(str::to_owned),
        model: model.map(str::to_owned),
        name_of_model: named.to_owned(),
        ..empty(&glue("mrpc"), "mrpc")
    };
    let ok = |run: &str, checkpoint: &str| Ok((run.to_owned(), checkpoint.to_owned()));
    for (claimed, model, named, expected) in [
        (Some(RUN), None, "m", ok(RUN, "final")),
        (
            Some("other_H1L1C1_20260101_000000"),
            None,
            "m",
            ok("other_H1L1C1_20260101_000000", "final"),
        ),
        (Some("mlm_old_names"), None, "m", ok("mlm_old_names", "final")),
        (
            Some("checkpoint-40"),
            Some("C/perceiver_mlm_H512L6C128_20260208_211633/checkpoint-40"),
            "checkpoint-40",
            ok(RUN, "checkpoint-40"),
        ),
        (None, None, RUN, ok(RUN, "final")),
        (None, None, "perceiver-mlm-h512l6c128-20260208-211633", ok(RUN, "final")),
        (None, Some("C:\\p\\perceiver_mlm_H512L6C128_20260208_211633"), "m", ok(RUN, "final")),
        (
            Some("concept-encoder"),
            Some("ksopyla/concept-encoder"),
            "concept-encoder",
            Err("`concept-encoder` names no run".to_owned()),
        ),
        (None, None, "m", Err("it does not say which model was evaluated".to_owned())),
    ] {
        assert_eq!(
            linked(&report(claimed, model, named)),
            expected,
            "{claimed:?} {model:?} {named}"
        );
    }
    let two = report(Some(RUN), Some("C/other_H1L1C1_20260101_000000"), "m");
    assert!(linked(&two).unwrap_err().contains("its model's path"));
}

#[test]
fn scores_that_cannot_be_are_problems_and_no_scores() {
    for (metric, score, expected, problem) in [
        ("f1", "0.8216", Some(0.8216), None),
        ("f1", "82.16", Some(0.8216), None),
        ("accuracy", "100.0", Some(1.0), None),
        ("pearsonr", "-0.12", Some(-0.12), None),
        ("f1", "", None, Some("its f1 is no number: ``")),
        ("f1", "nan", None, Some("its f1 is no number: `nan`")),
        ("f1", "inf", None, Some("its f1 is no number: `inf`")),
        ("accuracy", "-0.1", None, Some("its accuracy is impossible: -0.1")),
        ("accuracy", "812", None, Some("its accuracy is impossible: 812")),
        ("bleu", "0.3", None, Some("`bleu` is no measure that is known")),
        ("", "0.3", None, Some("its summary does not say what its score measures")),
    ] {
        let text = format!("task,main_metric,score\nrte,{metric},{score}\n");
        let files = Files { summary: Some(text.as_bytes()), ..Files::default() };
        let report = read(&glue("rte"), files).reports.remove(0);
        let found = report.headline().map(|(_, score)| (score * 1e6).round() / 1e6);
        assert_eq!(found, expected, "{metric} {score}");
        assert_eq!(report.problems.first().map(String::as_str), problem, "{metric} {score}");
    }
}

#[test]
fn what_is_being_written_is_not_whole() {
    assert!(is_whole(SUMMARY.as_bytes()) && is_whole(METADATA.as_bytes()));
    for cut in [
        b"".as_slice(),
        b"a,b\n",
        b"a,b\n1,2",
        b"a,b\n1\n",
        b"a,b\n1,\"2\n",
        &SUMMARY.as_bytes()[..SUMMARY.len() - 1],
        &METADATA.as_bytes()[..METADATA.len() - 3],
    ] {
        assert!(!is_whole(cut), "{cut:?}");
    }
}

#[test]
fn odd_files_are_stated_problems() {
    let said = |files: Files<'_>| read(&glue("mrpc"), files).problems;
    let empty: &[u8] = b"";
    assert_eq!(
        said(Files { summary: Some(empty), ..Files::default() }),
        ["its summary cannot be read: it is empty"]
    );
    assert_eq!(
        said(Files { metadata: Some(METADATA.as_bytes()), ..Files::default() }),
        ["it has no row"]
    );
    // A byte order mark and bare carriage returns.
    let text = "\u{FEFF}task,main_metric,score\rmrpc,f1,0.5\r";
    let files = Files { summary: Some(text.as_bytes()), ..Files::default() };
    assert_eq!(read(&glue("mrpc"), files).reports[0].headline(), Some((F1, 0.5)));
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(
        results in any::<Vec<u8>>(), metadata in any::<Vec<u8>>(), summary in ".*",
    ) {
        let files = Files {
            results: Some(&results),
            metadata: Some(&metadata),
            summary: Some(summary.as_bytes()),
        };
        let reading = read(&glue("mrpc"), files);
        prop_assert!(!reading.problems.is_empty() || !reading.reports.is_empty());
        for report in &reading.reports {
            prop_assert!(report.scores.values().all(|score| score.abs() <= 1.0));
        }
    }

    #[test]
    fn any_text_survives_quoting(cells in proptest::collection::vec("[^\r]*", 1..6)) {
        let quoted: Vec<String> =
            cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
        let header: Vec<String> = (0..cells.len()).map(|number| format!("c{number}")).collect();
        let text = format!("{}\n{}\n", header.join(","), quoted.join(","));
        let table = csv::table(text.as_bytes()).unwrap();
        let row = table.rows().next().unwrap();
        let read: Vec<&str> = row.cells().map(|(_, cell)| cell).collect();
        let expected: Vec<&str> = cells.iter().map(|cell| cell.trim()).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_file_cut_anywhere_is_not_whole_before_its_last_row(at in 0..SUMMARY.len()) {
        prop_assert!(!is_whole(&SUMMARY.as_bytes()[..at]));
    }
}
