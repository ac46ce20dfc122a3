//! Breaks that more than one test plants, each with its code and its place.

use std::fs;

use super::history::{History, LOG, day_tag, run};

/// The link of a row to its run's page.
pub(super) fn wandb_link(run: &str) -> String {
    format!("[W&B](https://wandb.ai/e/MrCogito/runs/{run})")
}

/// T1 to T3: a tag that does not exist, a tag without a row, a row without a tag, and a row whose run
/// was never seen.
pub(super) fn break_tags_and_rows(history: &History) -> Vec<(&'static str, String)> {
    history.replace(LOG, &format!("`{}`", day_tag(3)), "`train/nowhere_20260301`");
    history.tag("train/lost_20260301");
    history.replace(LOG, &format!("`{}`", day_tag(5)), "--");
    fs::remove_dir_all(history.project.path("Cache/Training").join(run(7))).unwrap();
    fs::remove_dir_all(history.wandb_folder(&run(7))).unwrap();
    history.replace(LOG, &wandb_link(&run(7)), "offline");
    vec![
        ("T1", history.row(3)),
        ("T2", "train/lost_20260301".to_owned()),
        ("T2", history.row(5)),
        ("T3", history.row(7)),
    ]
}

/// T5 and T6.
pub(super) fn break_changelog_and_tasks(history: &History) -> Vec<(&'static str, String)> {
    let mut planted = Vec::new();
    // T5: code that changed after the newest tag, and entries out of form and order.
    history.write("nn/new layer.py", "x = 2\n");
    history.commit_all("feat(nn): a layer");
    planted.push(("T5", "nn/new layer.py".to_owned()));
    history.replace("CHANGELOG.md", "**Why:** Reason 4.", "Reason 4.");
    planted.push(("T5", history.place("CHANGELOG.md", "— Feature 4")));
    history.replace("CHANGELOG.md", "[2026-02-08] — Feature 7", "[2026-02-28] — Feature 7");
    planted.push(("T5", history.place("CHANGELOG.md", "— Feature 7")));
    history.replace("CHANGELOG.md", "**Git tag:** `arch/feature-9`", "See `arch/feature-9`.");
    planted.push(("T5", history.place("CHANGELOG.md", "— Feature 9")));
    history.replace("CHANGELOG.md", "**Related TODO:** TODO 11\n", "**Related TODO:** TODO 77\n");
    planted.push(("T5", history.place("CHANGELOG.md", "TODO 77")));
    // T6: a task done without date or commit, and a commit that does not exist.
    let todos = "docs/1_Strategy_and_Plans/active_todos.md";
    let open = "## TODO 3: Task 3 (Priority: HIGH, Effort: 1 day)\n\n**Status:** [ ] open";
    history.replace(todos, open, "## TODO 3: Task 3 DONE ✅\n\n**Status:** [x] Done");
    planted.push(("T6", history.place(todos, "TODO 3:")));
    history.replace(todos, "- [ ] something", "- [ ] something after `badc0de1`");
    planted.push(("T6", history.place(todos, "badc0de1")));
    planted
}
