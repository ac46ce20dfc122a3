//! The forms of the files, whole and broken.

use proptest::prelude::*;

use super::*;

fn facts(commit: Option<&str>, tag: Option<&str>) -> GitFacts {
    GitFacts {
        commit: commit.map(str::to_owned),
        tag: tag.map(str::to_owned),
        ..GitFacts::default()
    }
}

const START: &str = "2026-02-23 20:33:52,114 INFO    MainThread:4711 [wandb_init.py:init():841] \
                     wandb.init called with sweep_config: {}\nconfig: ";

#[test]
fn the_debug_log_holds_the_configuration_as_python_literals() {
    for (config, expected) in [
        (
            "{'hidden_size': 512, 'git_commit': '54ee870', 'git_commit_long': '54ee8701', 'git_tag': 'arch/tsdae-overhaul-20260221'}",
            facts(Some("54ee870"), Some("arch/tsdae-overhaul-20260221")),
        ),
        ("{'git_commit': '54ee870', 'git_tag': None}", facts(Some("54ee870"), None)),
        ("{'git_commit': 'unknown', 'git_commit_long': '54ee8701'}", facts(Some("54ee8701"), None)),
        ("{'git_commit': 'unknown', 'git_tag': ''}", facts(None, None)),
        (r#"{"git_tag": "x", 'git_tag': "it's"}"#, facts(None, None)),
        ("{'git_commit': '54ee87", facts(None, None)),
        ("{'x': 1}", facts(None, None)),
        (
            "{'git_commit': '54ee870'}\nconfig: {'git_commit': '1234567'}",
            facts(Some("1234567"), None),
        ),
        // A key of the same name deeper inside, and a text that looks like an entry.
        (
            "{'args': {'git_tag': 'no'}, 'note': \"'git_tag': 'no'\", 'git_commit': '54ee870'}",
            facts(Some("54ee870"), None),
        ),
    ] {
        assert_eq!(debug_log(format!("{START}{config}\n").as_bytes()).git(), expected, "{config}");
    }
    assert_eq!(debug_log(b"\xff'git_tag': '\xff'").git(), facts(None, None));
}

#[test]
fn what_the_trainer_adds_later_is_part_of_the_configuration() {
    let log = format!(
        "{START}{{'lr': 0.0003, 'losses': ['a', 'b'], 'git_commit': '54ee870', 'git_branch': \
         'main', 'git_dirty': True, 'nothing': None, 'model': <class 'x, y'>}}\n2026-02-23 INFO \
         MainThread:1 [wandb_run.py:_config_callback():1389] config_cb None None {{'vocab_size': \
         30522, 'name': 'it\\'s'}}\n"
    );
    let run = debug_log(log.as_bytes());
    let text = |key: &str| run.config.get(key).cloned().unwrap();
    for (key, expected) in [
        ("lr", Some("0.0003")),
        ("losses", Some(NESTED)),
        ("nothing", None),
        ("vocab_size", Some("30522")),
        ("name", Some("it's")),
        ("git_dirty", Some("true")),
    ] {
        assert_eq!(text(key).as_deref(), expected, "{key}");
    }
    assert_eq!((run.git().branch.as_deref(), run.git().dirty), (Some("main"), Some(true)));
    let wanted = ["git_commit", "git_tag", "nothing"].map(str::to_owned);
    assert_eq!(run.lacking(&wanted), ["git_tag", "nothing"]);
}

#[test]
fn online_runs_have_files_more() {
    let yaml = "_wandb:\n    value:\n        cli_version: 0.22\n        value: 7\ngit_commit:\n    desc: null\n    value: 54ee870\ngit_dirty:\n    value: true\ngit_tag:\n    value: \"train/x_20260223\"\nlosses:\n    value:\n        - a\n";
    let run = config_yaml(yaml.as_bytes());
    let expected =
        GitFacts { dirty: Some(true), ..facts(Some("54ee870"), Some("train/x_20260223")) };
    assert_eq!(run.git(), expected);
    assert_eq!(run.config.get("losses"), Some(&Some(NESTED.to_owned())));
    let odd = config_yaml(b"git_tag:\n    value: null\ngit_commit: 54ee870\n");
    assert_eq!(odd.git(), facts(None, None));
    let json = r#"{"os": "Linux", "git": {"remote": "git@x", "commit": "54ee8701aa"}}"#;
    assert_eq!(metadata(json.as_bytes()).git(), facts(Some("54ee8701aa"), None));
    assert_eq!(metadata(b"{\"git\": 1}").git(), facts(None, None));
    for (json, expected) in [
        (r#"{"train/loss": 1.433, "train/train_loss": 8.36, "_step": 40}"#, Some(1.433)),
        (r#"{"loss": 2}"#, Some(2.0)),
        (r#"{"train/loss": NaN}"#, None),
        (r#"{"train/loss": "NaN"}"#, None),
        ("{", None),
    ] {
        assert_eq!(summary(json.as_bytes()).final_loss, expected, "{json}");
    }
}

#[test]
fn pages_are_known_by_their_path_and_lose_their_query() {
    let run = "diffusion_H64L2C128D2_20261123_063802";
    let of = |address: &str| page(address).map(|page| [page.entity, page.project, page.id]);
    let expected = Some(["ksopyla", "MrCogito", "a1b2"].map(str::to_owned));
    assert_eq!(of("https://wandb.ai/ksopyla/MrCogito/runs/a1b2?apiKey=0123"), expected);
    assert_eq!(of("http://localhost:8080/base/ksopyla/MrCogito/runs/a1b2/"), expected);
    for other in [
        "https://wandb.ai/ksopyla/MrCogito",
        "ftp://wandb.ai/ksopyla/MrCogito/runs/a1b2",
        "https://me:secret@wandb.ai/ksopyla/MrCogito/runs/a1b2",
        "https://wandb.ai/ksopyla/MrCogito/runs/",
        "runs/a1b2",
    ] {
        assert_eq!(of(other), None, "{other}");
    }
    let log = format!(
        "wandb: 🚀 View run other at: https://wandb.ai/e/p/runs/zzz\nwandb: View run {run} at: \
         https://wandb.ai/e/p/runs/a1b2?x=1\nView project at: https://wandb.ai/e/p\n"
    );
    let printed = printed_page(log.as_bytes(), run).page.unwrap();
    assert_eq!(printed.url, "https://wandb.ai/e/p/runs/a1b2");
    assert_eq!(printed_page(b"View run x at: https://", "x"), WandbRun::default());
}

#[test]
fn what_is_known_stays_and_what_is_not_is_filled() {
    let with = |key: &str, value: &str, loss| WandbRun {
        config: Configuration::from([(key.to_owned(), Some(value.to_owned()))]),
        final_loss: loss,
        ..WandbRun::default()
    };
    let both = with("a", "1", None).or(with("a", "2", Some(1.0)).or(with("b", "3", Some(2.0))));
    let values: Vec<_> = both.config.values().flatten().map(String::as_str).collect();
    assert_eq!((values, both.final_loss), (vec!["1", "3"], Some(1.0)));
}

proptest! {
    #[test]
    fn no_bytes_end_a_reader(text in "(config: )?[{}'\":,\\[\\](a-c0-9\\\\ \n]{0,200}") {
        for read in [debug_log, config_yaml, metadata, summary] {
            let _run = read(text.as_bytes());
        }
        let _run = printed_page(text.as_bytes(), "a");
    }
}
