//! Tasks in all forms that projects use.

use super::*;

const ALL_FORMS: &str = "\
# Experiment TODO List v3

**Status: Active**

- [x] ~~MLM training~~ — **COMPLETED**, 2026-02-20,
  commit `54ee870`
- [ ] write the paper
  - [x] outline

## TODO 0b: Re-train L6 — DONE ✅

**Status:** [x] Done

---

## TODO 6: Masked Diffusion (Priority: HIGH, Effort: 5 GPU-days) DONE ✅

**Done date: 2026-02-25 (evaluated)**

```
  [x] TODO 1: not a task
```

| File | Purpose | Status |
|---|---|---|
| `nn/x.py` | encoder | [x] Done |
| `nn/y.py` | decoder | [ ] |

### Files

## TODO 7: Data Scaling (Priority: HIGH)

**Done date: needs to be checked**
**Status:** [ ] Not started

## Other

| # | Task | Status |
|---|---|---|
| 12 | Upload | [x] Done 2026-02-27, 1a2b3c4 |
";

fn summary(text: &str) -> Vec<String> {
    let todos = read(text.as_bytes());
    let line = |task: &Task| {
        format!(
            "{} {} {} {:?} {} {} {} {:?}",
            task.line,
            task.marks.last,
            task.number.as_deref().unwrap_or("-"),
            task.title,
            if task.is_done { "done" } else { "open" },
            task.date.map_or("-".to_owned(), |date| date.to_string()),
            task.commits.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join("+"),
            task.parent,
        )
    };
    todos.tasks.iter().map(line).collect()
}

#[test]
fn tasks_are_read_in_all_their_forms() {
    let expected = [
        "5 6 - \"MLM training~~ — **COMPLETED**, 2026-02-20,\" done 2026-02-20 54ee870 None",
        "7 7 - \"write the paper\" open -  None",
        "8 8 - \"outline\" done -  None",
        "10 12 0b \"Re-train L6\" done -  None",
        "16 29 6 \"Masked Diffusion\" done 2026-02-25  None",
        "26 26 - \"nn/x.py\" done -  Some(16)",
        "27 27 - \"nn/y.py\" open -  Some(16)",
        "31 34 7 \"Data Scaling\" open -  None",
        "40 40 12 \"Upload\" done 2026-02-27 1a2b3c4 None",
    ];
    assert_eq!(summary(ALL_FORMS), expected);
    assert_eq!(summary(&ALL_FORMS.replace('\n', "\r\n")), expected);
}

#[test]
fn a_task_is_found_by_number_line_and_words() {
    let todos = read(ALL_FORMS.as_bytes());
    let lines = |wanted: &str| todos.find(wanted).iter().map(|task| task.line).collect::<Vec<_>>();
    for wanted in ["6", "TODO 6", "todo 6", "#6", "line:16", "masked diffusion", "Diffusion"] {
        assert_eq!(lines(wanted), [16], "{wanted}");
    }
    assert_eq!(lines("0B"), [10]);
    assert_eq!(lines("8"), Vec::<usize>::new());
    assert_eq!(lines(""), Vec::<usize>::new());
    assert_eq!(lines("training"), [5]);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(text in "(## TODO [0-9]|- \\[[x ]\\] |\\| \\[x\\] |\\||\n|a|é|DONE ✅|\\*\\*Status:\\*\\* \\[x\\]){0,40}") {
        for task in read(text.as_bytes()).tasks {
            proptest::prop_assert!(task.line <= task.marks.last);
        }
    }
}
