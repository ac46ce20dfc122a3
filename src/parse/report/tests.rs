//! Tests of the report readers.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::captures;
use super::*;

const DIFFUSION_TEXT: &str =
    include_str!("../../../tests/fixtures/parse/report.diffusion_H64C128.txt");
const DIFFUSION_JSON: &str =
    include_str!("../../../tests/fixtures/parse/report.diffusion_H64C128.json");
const POSONLY_TEXT: &str =
    include_str!("../../../tests/fixtures/parse/report.posonly_H512C128.txt");
const POSONLY_JSON: &str =
    include_str!("../../../tests/fixtures/parse/report.posonly_H512C128.json");
const NAN_TEXT: &str = include_str!("../../../tests/fixtures/parse/report.nan_H64C32.txt");
const NAN_JSON: &str = include_str!("../../../tests/fixtures/parse/report.nan_H64C32.json");
const PROBE_TEXT: &str = include_str!("../../../tests/fixtures/parse/report.probe_H512C128.txt");
const PROBE_JSON: &str = include_str!("../../../tests/fixtures/parse/report.probe_H512C128.json");

fn check(text: &str, expected: &Expect) {
    let shown = match from_either(text.as_bytes()) {
        Ok(report) => format!("{:#}\n", parsed_json(&report)),
        Err(problem) => problem,
    };
    expected.assert_eq(&shown);
}

#[test]
fn reads_the_text_form() {
    check(
        DIFFUSION_TEXT,
        &expect![[r#"
        {
          "source": "text",
          "model_path": "/home/user/project/Cache/Training/diffusion_H64L2C128D2_20260301_090000/checkpoint-5000",
          "model_type": "diffusion_mlm",
          "concepts": 128,
          "hidden": 64,
          "batches": 20,
          "measurements": {
            "active_dimensions_ratio": 1.0,
            "dimensions_for_95_variance": 24.0,
            "global_effective_rank": 4.8713,
            "global_effective_rank_normalized": 0.076,
            "isotropy": 0.0,
            "max_concept_similarity": 0.7899,
            "mean_concept_norm": 8.7215,
            "mean_concept_similarity": 0.2303,
            "mean_dimension_std": 0.8811,
            "min_dimension_std": 0.20042,
            "participation_ratio_normalized": 0.319,
            "std_concept_norm": 0.0023,
            "top1_dominance_ratio": 0.205,
            "top1_singular_value": 24.031,
            "top2_singular_value": 12.256,
            "top3_singular_value": 11.295,
            "top4_singular_value": 10.093,
            "top5_singular_value": 9.612,
            "uniformity_loss": 0.0094
          },
          "problems": []
        }
    "#]],
    );
}

#[test]
fn reads_the_json_form() {
    check(
        POSONLY_JSON,
        &expect![[r#"
        {
          "source": "json",
          "model_path": "/home/user/project/Cache/Training/perceiver_posonly_mlm_H512L6C128_20260301_101500/checkpoint-15000",
          "model_type": "perceiver_posonly_mlm",
          "concepts": null,
          "hidden": null,
          "batches": 20,
          "measurements": {
            "collapsed_dimensions": 0.0,
            "collapsed_dimensions_ratio": 0.0,
            "dimensions_for_95_variance": 23.0,
            "effective_rank": 23.398164143753053,
            "effective_rank_normalized": 0.18279815737307073,
            "global_effective_rank": 23.40518569946289,
            "global_effective_rank_normalized": 0.18285301327705383,
            "isotropy": 2.122188106686006e-9,
            "max_concept_norm": 9.1,
            "max_concept_similarity": 0.7338167231320887,
            "max_dimension_std": 1.160733888630587,
            "mean_concept_norm": 8.860244102737454,
            "mean_concept_similarity": 0.26179240892787337,
            "mean_dimension_std": 0.9998593979726346,
            "min_concept_norm": 7.9,
            "min_dimension_std": 0.3276942676209388,
            "n_samples": 160.0,
            "participation_ratio": 20.03573444173637,
            "participation_ratio_normalized": 0.040393058955063794,
            "std_concept_norm": 0.005090674530669709,
            "std_concept_similarity": 0.18538343854854739,
            "top1_singular_value": 48.681028156677485,
            "top2_singular_value": 24.827324359905518,
            "top3_singular_value": 22.880083233638416,
            "top4_singular_value": 20.446031825804543,
            "top5_singular_value": 19.472411262670995,
            "top_1_variance_ratio": 0.04579239370253679,
            "top_5_variance_ratio": 0.6083172421950822,
            "uniformity_loss": 0.02515832975949657
          },
          "problems": []
        }
    "#]],
    );
}

/// The script exits 0 on NaN weights, writes bare `NaN` and grades the rank as OK.
#[test]
fn not_a_number_in_the_text_form_is_null_with_a_problem() {
    check(
        NAN_TEXT,
        &expect![[r#"
        {
          "source": "text",
          "model_path": "/home/user/project/Cache/Training/weighted_mlm_H64L2C32_20260302_070000/checkpoint-10",
          "model_type": "weighted_mlm",
          "concepts": 32,
          "hidden": 64,
          "batches": 3,
          "measurements": {
            "active_dimensions_ratio": 1.0,
            "dimensions_for_95_variance": null,
            "global_effective_rank": null,
            "global_effective_rank_normalized": null,
            "isotropy": null,
            "max_concept_similarity": null,
            "mean_concept_norm": null,
            "mean_concept_similarity": null,
            "mean_dimension_std": null,
            "min_dimension_std": null,
            "participation_ratio_normalized": null,
            "std_concept_norm": null,
            "uniformity_loss": null
          },
          "problems": [
            "`global_effective_rank` is NaN",
            "`global_effective_rank_normalized` is NaN",
            "`participation_ratio_normalized` is NaN",
            "`dimensions_for_95_variance` is NaN",
            "`isotropy` is NaN",
            "`mean_concept_similarity` is NaN",
            "`max_concept_similarity` is NaN",
            "`uniformity_loss` is NaN",
            "`mean_dimension_std` is NaN",
            "`min_dimension_std` is NaN",
            "`mean_concept_norm` is NaN",
            "`std_concept_norm` is NaN"
          ]
        }
    "#]],
    );
}

/// The JSON of such a report has 9 keys in place of 28.
#[test]
fn not_a_number_in_the_json_form_is_null_with_a_problem() {
    check(
        NAN_JSON,
        &expect![[r#"
        {
          "source": "json",
          "model_path": "/home/user/project/Cache/Training/weighted_mlm_H64L2C32_20260302_070000/checkpoint-10",
          "model_type": "weighted_mlm",
          "concepts": null,
          "hidden": null,
          "batches": 3,
          "measurements": {
            "collapsed_dimensions": 0.0,
            "collapsed_dimensions_ratio": 0.0,
            "global_effective_rank": null,
            "global_effective_rank_normalized": null,
            "n_samples": 24.0
          },
          "problems": [
            "`global_effective_rank` is NaN",
            "`global_effective_rank_normalized` is NaN"
          ]
        }
    "#]],
    );
}

#[test]
fn reads_the_report_of_the_embedded_probe() {
    for report in [from_text(PROBE_TEXT.as_bytes()), from_json(PROBE_JSON.as_bytes())] {
        let report = report.unwrap();
        assert!((report.value(EMBEDDING_WEIGHT_RANK).unwrap() - 35.0212).abs() < 5e-5);
        assert!(report.value("embedding_weight_rank_normalized").is_some());
        assert!(!report.measurements.contains_key(GLOBAL_EFFECTIVE_RANK));
        assert_eq!(report.problems, Vec::<String>::new());
    }
}

/// Both forms give a number the same name, or the log would show one measurement as two.
#[test]
fn names_of_the_text_form_are_those_of_the_json_form() {
    for (text, json) in
        [(DIFFUSION_TEXT, DIFFUSION_JSON), (POSONLY_TEXT, POSONLY_JSON), (PROBE_TEXT, PROBE_JSON)]
    {
        let text = text_report(text.as_bytes()).unwrap();
        let json = from_json(json.as_bytes()).unwrap();
        for (name, printed) in &text.report.measurements {
            if name == "active_dimensions_ratio" || name == "top1_dominance_ratio" {
                continue;
            }
            let (exact, printed) = (json.value(name).unwrap(), printed.unwrap());
            assert!((exact - printed).abs() <= text.rounding(name) * 1.000_001, "{name}");
        }
        assert_eq!(text.report.measurements.len(), 19, "{:?}", text.report.measurements.keys());
    }
}

fn rank(output: &[u8]) -> Result<Option<f64>, String> {
    from_text(output).map(|report| report.value(GLOBAL_EFFECTIVE_RANK))
}

#[test]
fn finds_the_last_report_in_any_output() {
    let windows = DIFFUSION_TEXT.replace('\n', "\r\n");
    let bars = DIFFUSION_TEXT.replace("\n\n", "\n 50%|█████     | 20/40\r\r\n");
    let two = format!("{POSONLY_TEXT}{DIFFUSION_TEXT}\nCONCEPT SPACE GEOMETRY REPORT follows\n");
    let mut invalid = b"\xff\xfe\0 noise CONCEPT SPACE GEOMETRY REPORT\n".to_vec();
    invalid.extend_from_slice(DIFFUSION_TEXT.replace("✗", "?").as_bytes());
    for byte in &mut invalid {
        // A console that is not UTF-8 prints question marks or other bytes for the grades.
        if *byte == b'?' {
            *byte = b'\xd7';
        }
    }
    for output in [DIFFUSION_TEXT.as_bytes(), windows.as_bytes(), bars.as_bytes(), two.as_bytes()] {
        assert_eq!(rank(output), Ok(Some(4.8713)), "{}", String::from_utf8_lossy(output));
    }
    assert_eq!(rank(&invalid), Ok(Some(4.8713)));
    let path = from_text(windows.as_bytes()).unwrap().model_path.unwrap();
    assert!(path.ends_with("_20260301_090000/checkpoint-5000"), "{path:?}");
}

#[test]
fn an_unfinished_report_is_none() {
    let whole = DIFFUSION_TEXT;
    let cut = |at: &str| whole.split_once(at).unwrap().0.to_owned();
    let closing = whole.rfind("=====").unwrap();
    for (text, expected) in [
        (String::new(), expect!["no concept space geometry report in the text"]),
        (
            "Device: cpu\nLoading".to_owned(),
            expect!["no concept space geometry report in the text"],
        ),
        (cut("Model           :"), expect!["the text report is incomplete: no rule at its end"]),
        (cut("Concepts (C)"), expect!["the text report is incomplete: no rule at its end"]),
        (cut("─── Concept Norms"), expect!["the text report is incomplete: no rule at its end"]),
        (
            whole.get(..closing - 70).unwrap().to_owned(),
            expect!["the text report is incomplete: no rule at its end"],
        ),
        (
            whole.replace("Global effective rank (raw)", "Global rank"),
            expect!["the text report is incomplete: no `Global effective rank (raw)` line"],
        ),
        (
            format!("{whole}\n{}", cut("─── Concept Norms")),
            expect!["the text report is incomplete: no rule at its end"],
        ),
        (cut("====="), expect!["no concept space geometry report in the text"]),
        (
            whole.replace(&format!("{}\nModel", "=".repeat(65)), "Model"),
            expect!["the text report is incomplete: no rule under its heading"],
        ),
    ] {
        expected.assert_eq(&from_text(text.as_bytes()).map_or_else(|e| e, |r| format!("{r:?}")));
    }
}

#[test]
fn odd_values_in_the_text_are_problems() {
    let text = DIFFUSION_TEXT
        .replace("4.8713   ✗ POOR", "4,8713")
        .replace("Batches analysed: 20", "Batches analysed: many")
        .replace(
            "Max pairwise concept similarity          ",
            "Max pairwise concept similarity -inf ",
        )
        .replace("  Mean dimension std  ", "  Isotropy (min/max eigenvalue ratio)  ")
        .replace(
            "Min dimension std                        ",
            "Min dimension std\nMin dimension stdx ",
        );
    let report = from_text(text.as_bytes()).unwrap();
    expect![[r"
        `global_effective_rank` cannot be read from the text report
        `max_concept_similarity` is infinite
        `isotropy` stands twice in the text report
        no usable `Batches analysed` line in the text report"]]
    .assert_eq(&report.problems.join("\n"));
    assert_eq!(report.measurements.get(GLOBAL_EFFECTIVE_RANK), Some(&None));
    assert_eq!(report.batches, None);
}

#[test]
fn an_unusable_json_report_says_why() {
    let valid = r#"{"model_path":"/m","n_batches":3,"global_effective_rank":null}"#;
    assert!(from_json(valid.as_bytes()).is_ok());
    let many = "\"key\":1,".repeat(2000);
    for (json, expected) in [
        (
            POSONLY_JSON.get(..200).unwrap().to_owned(),
            expect!["the JSON report ends in the middle at byte 200"],
        ),
        ("[]".to_owned(), expect!["the JSON report is not a JSON object"]),
        (
            valid.replace("global_effective_rank", "effective_rank"),
            expect!["the JSON report is incomplete: no `global_effective_rank`"],
        ),
        (valid.replace("n_batches", "n"), expect!["the JSON report is incomplete: no `n_batches`"]),
        (valid.replace(":3", ":3.5"), expect!["the JSON report is incomplete: no `n_batches`"]),
        (
            valid.replace("\"/m\"", "null"),
            expect!["the JSON report is incomplete: no `model_path`"],
        ),
        (valid.replacen('{', &format!("{{{many}"), 1), expect!["the JSON report has 2003 keys"]),
        (
            valid.replace(",\"n", " \"n"),
            expect!["the JSON report is not JSON: `,` or `}` expected at byte 19"],
        ),
    ] {
        expected.assert_eq(&from_either(json.as_bytes()).map_or_else(|e| e, |r| format!("{r:?}")));
    }
}

/// Combines two forms, either of which may be changed before it is read.
fn check_combined(json: Option<&str>, text: Option<&str>, expected: &Expect) {
    let combined =
        combine(json.map(|j| from_json(j.as_bytes())), text.map(|t| text_report(t.as_bytes())));
    let report = combined.report.map_or("no report".to_owned(), |report| {
        let rank = report.value(GLOBAL_EFFECTIVE_RANK).or(report.value(EMBEDDING_WEIGHT_RANK));
        format!("{:?} {rank:?} C={:?} H={:?}", report.source, report.concepts, report.hidden)
    });
    let lines = [vec![report], combined.disagreements, combined.problems].concat();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn agreeing_forms_make_one_report() {
    check_combined(
        Some(DIFFUSION_JSON),
        Some(DIFFUSION_TEXT),
        &expect!["Json Some(4.871309757232666) C=Some(128) H=Some(64)"],
    );
    check_combined(
        Some(POSONLY_JSON),
        Some(POSONLY_TEXT),
        &expect!["Json Some(23.40518569946289) C=Some(128) H=Some(512)"],
    );
    check_combined(Some(NAN_JSON), Some(NAN_TEXT), &expect!["Json None C=Some(32) H=Some(64)"]);
    check_combined(
        Some(PROBE_JSON),
        Some(PROBE_TEXT),
        &expect!["Json Some(35.02117) C=Some(128) H=Some(512)"],
    );
}

#[test]
fn one_form_alone_is_enough() {
    check_combined(
        Some(DIFFUSION_JSON),
        None,
        &expect!["Json Some(4.871309757232666) C=None H=None"],
    );
    check_combined(
        None,
        Some(DIFFUSION_TEXT),
        &expect!["Text Some(4.8713) C=Some(128) H=Some(64)"],
    );
    check_combined(
        Some(DIFFUSION_JSON),
        Some("Traceback"),
        &expect![[r"
        Json Some(4.871309757232666) C=None H=None
        no concept space geometry report in the text"]],
    );
    check_combined(
        DIFFUSION_JSON.get(..300),
        Some(DIFFUSION_TEXT),
        &expect![[r"
        Text Some(4.8713) C=Some(128) H=Some(64)
        the JSON report ends in the middle at byte 300"]],
    );
    check_combined(
        Some(""),
        Some("Traceback"),
        &expect![[r"
        no report
        the JSON report ends in the middle at byte 0
        no concept space geometry report in the text"]],
    );
    check_combined(None, None, &expect!["no report"]);
}

/// The fixture's rank in full precision.
const RANK: &str = "4.871309757232666";

#[test]
fn ranks_are_compared_within_the_printed_rounding() {
    let check = |rank: &str, expected: &Expect| {
        let json = DIFFUSION_JSON.replace(RANK, rank);
        assert_ne!(json, DIFFUSION_JSON);
        check_combined(Some(&json), Some(DIFFUSION_TEXT), expected);
    };
    // The printed 4.8713 stands for 4.87125 to 4.87135.
    check("4.871349", &expect!["Json Some(4.871349) C=Some(128) H=Some(64)"]);
    check("4.871251", &expect!["Json Some(4.871251) C=Some(128) H=Some(64)"]);
    check(
        "4.871351",
        &expect![[r"
        Json Some(4.871351) C=Some(128) H=Some(64)
        `global_effective_rank` is 4.871351 in the JSON and 4.8713 in the text"]],
    );
    check(
        "NaN",
        &expect![[r"
        Json None C=Some(128) H=Some(64)
        `global_effective_rank` is not finite in the JSON and 4.8713 in the text"]],
    );
    let text = DIFFUSION_TEXT.replace("4.8713", "4.87").replace("0.076 ", "0.08 ");
    check_combined(
        Some(DIFFUSION_JSON),
        Some(&text),
        &expect!["Json Some(4.871309757232666) C=Some(128) H=Some(64)"],
    );
    let text = DIFFUSION_TEXT.replace("4.8713", "10.0000");
    check_combined(
        Some(&DIFFUSION_JSON.replace(RANK, "10.4")),
        Some(&text),
        &expect![[r"
        Json Some(10.4) C=Some(128) H=Some(64)
        `global_effective_rank` is 10.4 in the JSON and 10 in the text"]],
    );
}

#[test]
fn forms_that_speak_of_something_else_contradict_each_other() {
    let changed = |from: &str, to: &str, expected: &Expect| {
        let json = DIFFUSION_JSON.replacen(from, to, 1);
        assert_ne!(json, DIFFUSION_JSON);
        check_combined(Some(&json), Some(DIFFUSION_TEXT), expected);
    };
    changed(
        "\"n_batches\": 20",
        "\"n_batches\": 0",
        &expect![[r"
        Json Some(4.871309757232666) C=Some(128) H=Some(64)
        the number of batches is `0` in the JSON and `20` in the text"]],
    );
    changed(
        "checkpoint-5000",
        "checkpoint-4000",
        &expect![[r"
        Json Some(4.871309757232666) C=Some(128) H=Some(64)
        the model path is `/home/user/project/Cache/Training/diffusion_H64L2C128D2_20260301_090000/checkpoint-4000` in the JSON and `/home/user/project/Cache/Training/diffusion_H64L2C128D2_20260301_090000/checkpoint-5000` in the text"]],
    );
    changed(
        "diffusion_mlm",
        "perceiver_mlm",
        &expect![[r"
        Json Some(4.871309757232666) C=Some(128) H=Some(64)
        the model type is `perceiver_mlm` in the JSON and `diffusion_mlm` in the text"]],
    );
    check_combined(
        Some(PROBE_JSON),
        Some(POSONLY_TEXT),
        &expect![[r"
        Json Some(35.02117) C=Some(128) H=Some(512)
        `global_effective_rank` is missing in the JSON and 23.4052 in the text
        `embedding_weight_rank` is 35.02117 in the JSON and missing in the text
        the number of batches is `1` in the JSON and `20` in the text"]],
    );
}

#[test]
fn reads_every_captured_report() {
    for (case, rank, dimensions) in [
        ("diffusion_ckpt20", Some(13.188), (128, 64)),
        ("posonly_ckpt20", Some(8.690), (32, 64)),
        ("weighted_final", Some(9.597), (32, 64)),
        ("crafted_collapsed_near", Some(1.011), (128, 64)),
        ("crafted_nan_weights", None, (128, 64)),
        ("recursive_ckpt10_as_perceiver", None, (32, 64)),
    ] {
        let text = captures::read(&format!("analysis/{case}/stdout.txt"));
        let json = captures::read(&format!("analysis/{case}/out.json"));
        let (Some(text), Some(json)) = (text, json) else { return };
        assert_eq!(from_either(&text), from_text(&text), "{case}");
        assert_eq!(from_either(&json), from_json(&json), "{case}");
        let both = combine(Some(from_json(&json)), Some(text_report(&text)));
        assert_eq!((both.disagreements.as_slice(), both.problems.as_slice()), (&[][..], &[][..]));
        let report = both.report.unwrap();
        let shown =
            report.value(GLOBAL_EFFECTIVE_RANK).map(|rank| (rank * 1000.0).floor() / 1000.0);
        assert_eq!(shown, rank, "{case}");
        assert_eq!((report.concepts, report.hidden), (Some(dimensions.0), Some(dimensions.1)));
        assert_eq!((report.batches, report.problems.is_empty()), (Some(3), rank.is_some()));
    }
    for case in ["crafted_truncated_safetensors", "fail_wrong_type_choice"] {
        let Some(text) = captures::read(&format!("analysis/{case}/stdout.txt")) else { return };
        assert!(from_either(&text).is_err(), "{case}");
    }
}

proptest! {
    #[test]
    fn what_was_cut_off_before_its_end_is_no_report(length in 0_usize..2500) {
        let end = DIFFUSION_TEXT.find("\n\nResults saved").unwrap();
        let length = length.min(end);
        let whole = from_text(&DIFFUSION_TEXT.as_bytes()[..length]).is_ok();
        prop_assert_eq!(whole, length == end);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, at in 0_usize..2000, line in "\\PC{0,40}") {
        let _any: Result<_, String> = from_either(&bytes);
        let mut text = DIFFUSION_TEXT.as_bytes().to_vec();
        text.splice(at..at, bytes);
        let _any: Result<_, String> = text_report(&text);
        let _any: Result<_, String> =
            text_report(DIFFUSION_TEXT.replace("\n  ", &format!("\n  {line}")).as_bytes());
    }

    #[test]
    fn a_printed_number_agrees_with_itself(rank in 0.0..1000.0_f64, places in 0_usize..8) {
        let json = DIFFUSION_JSON.replace(RANK, &rank.to_string());
        let text = DIFFUSION_TEXT.replace("4.8713", &format!("{rank:.places$}"));
        let both = combine(Some(from_json(json.as_bytes())), Some(text_report(text.as_bytes())));
        prop_assert_eq!(both.disagreements, Vec::<String>::new());
        let off = rank + 1.1 * 0.1_f64.powi(i32::try_from(places).unwrap());
        let text = DIFFUSION_TEXT.replace("4.8713", &format!("{off:.places$}"));
        let both = combine(Some(from_json(json.as_bytes())), Some(text_report(text.as_bytes())));
        prop_assert_eq!(both.disagreements.len(), 1);
    }
}

#[test]
fn a_rank_that_is_not_a_number_is_said_to_be_none() {
    for value in ["\"13.2\"", "true", "[1]", "{}"] {
        let json = format!(
            "{{\"model_path\": \"/p\", \"n_batches\": 3, \"global_effective_rank\": {value}}}"
        );
        let report = from_json(json.as_bytes()).unwrap();
        assert_eq!(report.measurements.get("global_effective_rank"), Some(&None), "{value}");
        assert_eq!(report.problems, ["`global_effective_rank` is not a number"], "{value}");
    }
}
