//! Entries in the forms that projects use, and out of form.

use jiff::civil::date;

use super::*;

const BOTH_FORMS: &str = "\
# Changelog

Tag format: `arch/{feature}`.

## [Unreleased]

- nothing yet

---

## [2026-02-23] — Cross-attention only

**Motivation:** The decoder saw the input twice.

### Changed — `nn/diffusion.py`
- no self-attention

**Git tag:** `arch/diffusion-xattn-only-20260223`
**Related TODO:** TODO 6, 7b and TODO 9

---

## [2026-02-21] - TSDAE overhaul

**What changed:**
- `nn/tsdae.py`: new

**Why:** collapse

**Git tag:** —
**Related TODO:** Masked diffusion experiment
";

fn names(references: &[Reference]) -> Vec<(usize, &str)> {
    references.iter().map(|reference| (reference.line, reference.name.as_str())).collect()
}

#[test]
fn both_forms_are_in_form() {
    for (text, what) in [(BOTH_FORMS.to_owned(), "lf"), (BOTH_FORMS.replace('\n', "\r\n"), "crlf")]
    {
        let changelog = read(text.as_bytes());
        assert_eq!(changelog.unreleased, Some(5), "{what}");
        let [first, second] = &changelog.entries[..] else { panic!("{changelog:?}") };
        assert_eq!((first.line, first.last_line), (11, 19));
        assert_eq!(first.date, Some(date(2026, 2, 23)));
        assert_eq!(first.title, "Cross-attention only");
        assert_eq!(first.tag_line, Some(18));
        assert_eq!(names(&first.tags), [(18, "arch/diffusion-xattn-only-20260223")]);
        assert_eq!(names(&first.todos), [(19, "6"), (19, "7b"), (19, "9")]);
        assert_eq!(second.title, "TSDAE overhaul");
        assert_eq!((second.tag_line, names(&second.tags)), (Some(30), vec![]));
        assert_eq!(names(&second.todos), [(31, "Masked diffusion experiment")]);
        for entry in [first, second] {
            assert_eq!((&entry.problems[..], entry.is_out_of_order), (&[][..], false));
        }
        let code = names(&changelog.code);
        assert_eq!(code[..2], [(3, "arch/{feature}"), (15, "nn/diffusion.py")]);
    }
}

#[test]
fn what_is_out_of_form_is_told() {
    let text = "## [0.1.0] - 2026-01-01\n**Why:** x\n**What changed:** y\n\n\
                ## [2026-01-02]\n### Added\n- x\n**Why:**\n- because\n\n\
                ## [2026-02-30] — No such day\n```\n**Why:** hidden\n```\n\n\
                ## Notes of no entry\n\n## 2026-01-03: No brackets\n**Motivation:** x\n";
    let changelog = read(text.as_bytes());
    let problems: Vec<_> =
        changelog.entries.iter().map(|entry| (entry.line, entry.problems.clone())).collect();
    let (no_date, no_title) = (Problem::NoDate, Problem::NoTitle);
    let (no_change, no_reason) = (Problem::NoChange, Problem::NoReason);
    let expected = [
        (1, vec![no_date.clone()]),
        (5, vec![no_title]),
        (11, vec![no_date, no_change.clone(), no_reason]),
        (18, vec![no_change]),
    ];
    assert_eq!(problems, expected);
    let order: Vec<bool> = changelog.entries.iter().map(|entry| entry.is_out_of_order).collect();
    assert_eq!(order, [false, false, false, true]);
}

#[test]
fn a_field_goes_on_in_the_next_line_and_ends_at_a_blank_one() {
    let text = "## [2026-01-01] — T\n**Git tags:** `arch/a`,\n`arch/b`\n\n`arch/c`\n\
                **Related:** `agenda.md` → TODO 3\n";
    let changelog = read(text.as_bytes());
    let entry = &changelog.entries[0];
    assert_eq!(names(&entry.tags), [(2, "arch/a"), (3, "arch/b")]);
    assert_eq!(names(&entry.todos), [(6, "3")]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read(file in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let changelog = read(&file);
        for entry in &changelog.entries {
            proptest::prop_assert!(entry.line <= entry.last_line);
        }
    }
}
