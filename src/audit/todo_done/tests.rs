//! Marks in each form of a file, and nothing else touched.

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

fn done() -> Done {
    Done {
        today: date(2026, 2, 25),
        commit: "54ee870".to_owned(),
        committed: date(2026, 2, 24),
        is_named: false,
        note: None,
    }
}

fn made(file: &str, wanted: &str, done: &Done) -> String {
    match mark(file.as_bytes(), wanted, done) {
        Ok(Marked::Made(_, bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?} of {file:?}"),
    }
}

#[test]
fn each_form_is_marked_in_its_own_way() {
    let day = "2026-02-25 (commit `54ee870`)";
    let list = "2026-02-25, commit `54ee870`";
    for (before, after) in [
        (
            "## TODO 6: A (Priority: HIGH)\n\nText.\n",
            format!("## TODO 6: A (Priority: HIGH) DONE ✅\n\n**Done date: {day}**\n\nText.\n"),
        ),
        ("## TODO 6: A", format!("## TODO 6: A DONE ✅\n\n**Done date: {day}**")),
        ("## TODO 6: A\nText", format!("## TODO 6: A DONE ✅\n\n**Done date: {day}**\n\nText")),
        (
            "## TODO 6: A\n\n**Status:** [ ] Not started\n",
            format!("## TODO 6: A DONE ✅\n\n**Status:** [x] Done — {list}\n"),
        ),
        (
            "## TODO 6: A\n\n**Status:** [ ] waits for GPUs  \n",
            format!(
                "## TODO 6: A DONE ✅\n\n**Status:** [x] Done — {list} (was: waits for GPUs)  \n"
            ),
        ),
        (
            "## TODO 6: A\n\n**Done date: needs to be checked**\n",
            format!("## TODO 6: A DONE ✅\n\n**Done date: {day}**\n"),
        ),
        (
            "## TODO 6: A\n\n**Done date:** ?\n**Status:** [ ]\n",
            format!("## TODO 6: A DONE ✅\n\n**Done date:** {day}\n**Status:** [x] Done\n"),
        ),
        (
            "## TODO 6: A\n\nText.\n\n---\n\n## TODO 5: B\n\n**Status:** [x] Done\n",
            format!(
                "## TODO 6: A\n\nText.\n\n**Status:** [x] Done — {list}\n\n---\n\n## TODO 5: B\n\n**Status:** [x] Done\n"
            ),
        ),
        (
            "## TODO 6: A\n## TODO 5: B — DONE ✅\n",
            format!("## TODO 6: A — DONE ✅\n\n**Done date: {day}**\n\n## TODO 5: B — DONE ✅\n"),
        ),
        (
            "- [ ] TODO 6: x\n  goes on  \n- [ ] other\n",
            format!("- [x] TODO 6: x\n  goes on — done {list}  \n- [ ] other\n"),
        ),
        ("1. [ ] TODO 6: x", format!("1. [x] TODO 6: x — done {list}")),
        (
            "| # | Task | Status |\n|---|---|---|\n| 6 | x | [ ] |\n| 7 | y | [ ] |\n",
            format!(
                "| # | Task | Status |\n|---|---|---|\n| 6 | x | [x] Done — {list} |\n| 7 | y | [ ] |\n"
            ),
        ),
    ] {
        for (from, to) in [("\n", "\n"), ("\n", "\r\n")] {
            if !before.contains('\n') && to == "\r\n" {
                continue;
            }
            let (before, after) = (before.replace(from, to), after.replace(from, to));
            assert_eq!(made(&before, "6", &done()), after);
            let line = todos::read(after.as_bytes()).find("6")[0].line;
            assert_eq!(mark(after.as_bytes(), "TODO 6", &done()), Ok(Marked::Already(line)));
        }
    }
}

#[test]
fn a_done_task_gets_what_it_lacks_and_the_day_of_the_commit() {
    let named = Done { is_named: true, note: Some("evaluated | twice".to_owned()), ..done() };
    for (before, after) in [
        (
            "## TODO 6: A DONE ✅\n\n**Done date: 2026-02-20 (evaluated)**\n",
            "## TODO 6: A DONE ✅\n\n**Done date: 2026-02-20 (evaluated), commit `54ee870`, evaluated | twice**\n",
        ),
        (
            "## TODO 6: A\n\n**Status:** [x] Done — fixed\n",
            "## TODO 6: A DONE ✅\n\n**Status:** [x] Done — fixed — 2026-02-24, commit `54ee870`, evaluated | twice\n",
        ),
        (
            "- [x] TODO 6: x in `1a2b3c4`\n",
            "- [x] TODO 6: x in `1a2b3c4` — 2026-02-24, evaluated | twice\n",
        ),
        (
            "|a|b|\n|-|-|\n|TODO 6|[x] Done|",
            "|a|b|\n|-|-|\n|TODO 6|[x] Done — 2026-02-24, commit `54ee870`, evaluated \\| twice|",
        ),
    ] {
        let refused = mark(before.as_bytes(), "6", &done()).unwrap_err();
        assert!(refused.contains("--commit"), "{refused}");
        assert_eq!(made(before, "6", &named), after);
        assert!(matches!(mark(after.as_bytes(), "6", &named), Ok(Marked::Already(_))));
    }
}

#[test]
fn it_is_not_guessed_which_task_is_meant() {
    let file = "- [ ] TODO 6: first\n- [ ] TODO 6: second\n";
    let refused = mark(file.as_bytes(), "6", &done()).unwrap_err();
    assert!(refused.contains("line:1  TODO 6: first"), "{refused}");
    assert!(refused.contains("line:2  TODO 6: second"), "{refused}");
    let marked = made(file, "line:2", &done());
    assert!(marked.starts_with("- [ ] TODO 6: first\n- [x] TODO 6: second — done"), "{marked}");
    for (file, wanted) in [(file, "7"), (file, "third"), ("", "6"), ("```\n- [ ] x\n```", "x")] {
        assert!(mark(file.as_bytes(), wanted, &done()).unwrap_err().contains("no task"));
    }
    for file in ["<<<<<<< HEAD\n- [ ] x\n", "- [ ] x\n\n>>>>>>> b\n"] {
        assert!(mark(file.as_bytes(), "x", &done()).unwrap_err().contains("conflict"));
    }
}

/// A list of tasks in all forms, with the line of the task that is to be marked.
fn lists() -> impl Strategy<Value = (String, usize)> {
    let part = prop::sample::select(vec![
        "## TODO 1: A (Priority: HIGH)\n\nText \t\n\n",
        "## TODO 2: B\n\n**Status:** [ ] Not started\n\n---\n\n",
        "## TODO 3: C DONE ✅\n\n**Done date: 2026-02-01 (commit `1a2b3c4`)**\n\n",
        "## TODO 4: D\n**Done date: needs to be checked**\n- [ ] step\n  more\n- [x] step 2\n",
        "- [ ] E é\n- [ ] F\n\n",
        "| a | b |\n|---|---|\n| g | [ ] |\n| h | [x] Done |\n\n",
        "```\n- [ ] hidden\n```\n\n",
        "## Other\n\nText.\n",
    ]);
    let parts = prop::collection::vec(part, 1..7);
    (parts, any::<bool>(), any::<bool>(), any::<bool>(), any::<prop::sample::Index>())
        .prop_filter_map("no open task", |(parts, mark, crlf, cut, index)| {
            let text = format!("{}{}", if mark { "\u{feff}" } else { "" }, parts.concat());
            let text = if cut { text.trim_end().to_owned() } else { text };
            let text = if crlf { text.replace('\n', "\r\n") } else { text };
            let todos = todos::read(text.as_bytes());
            let open: Vec<usize> =
                todos.tasks.iter().filter(|task| !task.is_done).map(|task| task.line).collect();
            (!open.is_empty()).then(|| (text.clone(), open[index.index(open.len())]))
        })
}

#[test]
fn an_empty_note_is_none() {
    let empty = Done { note: Some("  ".to_owned()), ..done() };
    assert_eq!(made("- [ ] x", "x", &empty), made("- [ ] x", "x", &done()));
    let two = Done { note: Some("a\nb".to_owned()), ..done() };
    assert!(mark(b"- [ ] x", "x", &two).unwrap_err().contains("one line"));
}

proptest! {
    #[test]
    fn only_the_task_is_changed_and_only_once((file, line) in lists()) {
        let wanted = format!("line:{line}");
        let made = made(&file, &wanted, &done());
        prop_assert_eq!(mark(made.as_bytes(), &wanted, &done()), Ok(Marked::Already(line)));
        let before = todos::read(file.as_bytes());
        let task = before.find(&wanted)[0];
        let old: Vec<&str> = file.split_inclusive('\n').collect();
        let new: Vec<&str> = made.split_inclusive('\n').collect();
        prop_assert_eq!(&new[..line - 1], &old[..line - 1]);
        let below = &old[task.marks.last..];
        let tail = &new[new.len() - below.len()..];
        // Below the last line of a file without a line end there is nothing.
        prop_assert_eq!(tail, below);
        let others = |todos: &Todos, skipped: usize| -> Vec<(String, bool)> {
            let others = todos.tasks.iter().enumerate().filter(|(index, _)| *index != skipped);
            others.map(|(_, task)| (task.title.clone(), task.is_done)).collect()
        };
        let index = before.tasks.iter().position(|task| task.line == line).unwrap();
        prop_assert_eq!(others(&before, index), others(&todos::read(made.as_bytes()), index));
    }
}
