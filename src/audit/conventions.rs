//! How tags and commits are named: making names, and telling what a name says.

use jiff::civil::Date;

use crate::model::ids::RunId;
use crate::settings::{TagForms, is_reference};

/// What a tag marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TagKind {
    /// A state of the model's code.
    Arch,
    /// The start of a training.
    Train,
    /// An evaluation.
    Eval,
}

impl TagKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Arch, Self::Train, Self::Eval];

    /// Returns its word on the command line and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arch => "arch",
            Self::Train => "train",
            Self::Eval => "eval",
        }
    }

    /// Returns the placeholder that stands for a name in its form.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Arch => "{feature}",
            Self::Train => "{run}",
            Self::Eval => "{benchmark}",
        }
    }

    /// Returns the form of the kind.
    pub fn form(self, forms: &TagForms) -> &str {
        match self {
            Self::Arch => &forms.arch,
            Self::Train => &forms.train,
            Self::Eval => &forms.eval,
        }
    }
}

/// What the name of a tag says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagName {
    /// What it marks.
    pub kind: TagKind,
    /// What stands in the place of the placeholder.
    pub name: String,
    /// What stands in the place of `{date}`, when the form has it.
    pub date: Option<Date>,
    /// 1, or the number that ends a repeated name.
    pub repeat: u32,
}

/// The placeholder of the day.
const DATE: &str = "{date}";

/// Returns the name of a tag of this kind for a name and a day.
pub fn tag_name(forms: &TagForms, kind: TagKind, name: &str, day: Date) -> String {
    let day = day.strftime("%Y%m%d").to_string();
    // The name last: it may hold braces of its own.
    kind.form(forms).replace(DATE, &day).replace(kind.placeholder(), name)
}

/// Returns the first of a name and its repetitions (`-2`, `-3`, …) that nobody has taken.
pub fn free_name(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let repeated = (2_u32..).map(|number| format!("{wanted}-{number}"));
    let mut names = std::iter::once(wanted.to_owned()).chain(repeated);
    names.find(|name| !is_taken(name)).unwrap_or_else(|| wanted.to_owned())
}

/// Returns what a tag's name says, or nothing when it has none of the forms.
///
/// Where several forms fit, the one with the most letters of its own does.
pub fn read_tag(forms: &TagForms, tag: &str) -> Option<TagName> {
    let own_letters = |kind: &TagKind| kind.form(forms).len() - kind.placeholder().len();
    let mut kinds = TagKind::ALL;
    kinds.sort_by_key(|kind| std::cmp::Reverse(own_letters(kind)));
    kinds.into_iter().find_map(|kind| matches(kind, kind.form(forms), tag))
}

/// Returns the one tag of a run's training: of its whole id, else of its id without the time stamp and
/// its day. Of several none is known to be the one.
pub fn tag_of_run<'a>(forms: &TagForms, tags: &'a [String], run: &RunId) -> Option<&'a str> {
    let (before, _) = forms.train.split_once(TagKind::Train.placeholder())?;
    let is_whole = |tag: &str| {
        let rest = tag.strip_prefix(before).and_then(|tag| tag.strip_prefix(run.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || is_repetition(rest))
    };
    let of_day = run.split_stamp().map(|(base, stamp)| (base, stamp.date()));
    let is_of_day = |tag: &str| {
        let read = read_tag(forms, tag).filter(|read| read.kind == TagKind::Train);
        read.is_some_and(|read| {
            read.date.is_some_and(|date| of_day == Some((read.name.as_str(), date)))
        })
    };
    one(tags, is_whole).or_else(|| one(tags, is_of_day))
}

fn one(tags: &[String], is_wanted: impl Fn(&str) -> bool) -> Option<&str> {
    let mut found = tags.iter().map(String::as_str).filter(|tag| is_wanted(tag));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn is_repetition(rest: &str) -> bool {
    let number = rest.strip_prefix('-').unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn matches(kind: TagKind, form: &str, tag: &str) -> Option<TagName> {
    let (before, after) = form.split_once(kind.placeholder())?;
    let read = |tag: &str, repeat| {
        let (tag, first) = take_day(tag, before, End::Start)?;
        let (name, last) = take_day(tag, after, End::End)?;
        let date = first.or(last);
        (!name.is_empty() && !has_odd_edge(name)).then(|| TagName {
            kind,
            name: name.to_owned(),
            date,
            repeat,
        })
    };
    // A repetition is told from a name with a number only by the day before it.
    let repeated = tag.rsplit_once('-').and_then(|(first, number)| {
        let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
        let number: u32 = number.parse().ok().filter(|number| is_plain && *number > 1)?;
        form.ends_with(DATE).then(|| read(first, number)).flatten()
    });
    repeated.or_else(|| read(tag, 1))
}

/// At which end of a tag a part of the form stands.
#[derive(Clone, Copy)]
enum End {
    Start,
    End,
}

/// Takes a part of the form, with the day in it, off one end of a tag.
fn take_day<'a>(tag: &'a str, part: &str, end: End) -> Option<(&'a str, Option<Date>)> {
    let Some((before, after)) = part.split_once(DATE) else {
        let rest = match end {
            End::Start => tag.strip_prefix(part)?,
            End::End => tag.strip_suffix(part)?,
        };
        return Some((rest, None));
    };
    let (rest, day) = match end {
        End::Start => {
            let (day, rest) = tag.strip_prefix(before)?.split_at_checked(8)?;
            (rest.strip_prefix(after)?, day)
        }
        End::End => {
            let tag = tag.strip_suffix(after)?;
            let (rest, day) = tag.split_at_checked(tag.len().checked_sub(8)?)?;
            (rest.strip_suffix(before)?, day)
        }
    };
    Some((rest, Some(compact_date(day)?)))
}

fn has_odd_edge(name: &str) -> bool {
    name.starts_with(['/', '-', '_']) || name.ends_with(['/', '-', '_'])
}

/// Reads YYYYMMDD and nothing else.
pub fn compact_date(text: &str) -> Option<Date> {
    let is_plain = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<i16>().ok();
    let small = |range| i8::try_from(part(range)?).ok();
    Date::new(part(0..4).filter(|_| is_plain)?, small(4..6)?, small(6..8)?).ok()
}

/// Why a commit's subject is not as agreed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectProblem {
    /// It has no prefix.
    #[error("the subject has no prefix: begin it with one of {0}")]
    None(String),
    /// It has another one.
    #[error("the prefix `{0}` is not one of {1}")]
    Unknown(String, String),
    /// Nothing follows the prefix.
    #[error("nothing follows the prefix `{0}:`")]
    Empty(String),
}

/// Checks the subject of a commit: `prefix: text` or `prefix(scope): text`, with `!` before the
/// colon allowed. What git itself words (merges, reverts, commits to be squashed) is fine.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn check_subject(prefixes: &[String], subject: &str) -> Result<(), SubjectProblem> {
    let subject = subject.trim();
    let own_words = ["Merge ", "Revert \"", "Reapply \"", "fixup! ", "squash! ", "amend! "];
    if prefixes.is_empty() || own_words.iter().any(|words| subject.starts_with(words)) {
        return Ok(());
    }
    let known = || {
        let quoted: Vec<String> = prefixes.iter().map(|prefix| format!("`{prefix}:`")).collect();
        quoted.join(", ")
    };
    let Some((head, text)) = subject.split_once(':') else {
        return Err(SubjectProblem::None(known()));
    };
    let head = head.strip_suffix('!').unwrap_or(head);
    let prefix = match head.split_once('(') {
        Some((prefix, scope)) if scope.len() > 1 && scope.ends_with(')') => prefix,
        _ => head,
    };
    if !prefixes.iter().any(|known| known == prefix) {
        let is_word = !prefix.is_empty() && !prefix.contains(char::is_whitespace);
        return Err(if is_word {
            SubjectProblem::Unknown(prefix.to_owned(), known())
        } else {
            SubjectProblem::None(known())
        });
    }
    if text.trim().is_empty() { Err(SubjectProblem::Empty(prefix.to_owned())) } else { Ok(()) }
}

/// Checks the message of a commit as git hands it to a hook, comments included. An empty one is
/// git's own business.
///
/// # Errors
/// See [`check_subject`].
pub fn check_message(prefixes: &[String], message: &str) -> Result<(), SubjectProblem> {
    let mut lines = message.lines().map(str::trim);
    let subject = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    subject.map_or(Ok(()), |subject| check_subject(prefixes, subject))
}

/// Why a name makes no tag of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{tag}` is no tag of the form `{form}`: {why}")]
pub struct WrongTag {
    /// The whole name of the tag.
    pub tag: String,
    /// The form of its kind.
    pub form: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// Returns the whole name of a tag of this kind for what somebody calls it, which may be the whole
/// name too.
///
/// # Errors
/// It has not the form of its kind, or git takes no such name.
pub fn wanted_tag(
    forms: &TagForms,
    kind: TagKind,
    name: &str,
    day: Date,
) -> Result<TagName, WrongTag> {
    let form = kind.form(forms);
    let wrong =
        |tag: &str, why: String| Err(WrongTag { tag: tag.to_owned(), form: form.to_owned(), why });
    let own = form.split('{').next().unwrap_or_default();
    let is_whole = !own.is_empty() && name.starts_with(own);
    let tag = if is_whole { name.to_owned() } else { tag_name(forms, kind, name, day) };
    if !is_reference(&tag) {
        let plain = |character: char| character.is_alphanumeric() || "._/-".contains(character);
        let parts = name.split(|character| !plain(character)).filter(|part| !part.is_empty());
        let plain = parts.collect::<Vec<_>>().join("-");
        return wrong(&tag, format!("git takes no such name; `{plain}` would do"));
    }
    let Some(read) = read_tag(forms, &tag) else {
        return wrong(&tag, format!("give `{}` alone, or the whole name", kind.placeholder()));
    };
    if read.kind != kind {
        return wrong(&tag, format!("it is one of kind `{}`", read.kind.as_str()));
    }
    let ends_in_time = |text: &str| {
        let is_stamp = |part: &str| compact_date(part).is_some();
        let mut parts = text.rsplit('_');
        parts.next().is_some_and(is_stamp) || parts.next().is_some_and(is_stamp)
    };
    if form.contains(DATE) && ends_in_time(&read.name) {
        return wrong(&tag, "give the name without its date, which comes by itself".to_owned());
    }
    Ok(read)
}

impl TagName {
    /// Returns the whole name of the tag.
    pub fn tag(&self, forms: &TagForms, day: Date) -> String {
        let first = tag_name(forms, self.kind, &self.name, self.date.unwrap_or(day));
        if self.repeat > 1 { format!("{first}-{}", self.repeat) } else { first }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn forms() -> TagForms {
        TagForms {
            arch: "arch/{feature}".to_owned(),
            train: "train/{run}_{date}".to_owned(),
            eval: "eval/{benchmark}_{date}".to_owned(),
        }
    }

    #[test]
    fn the_tag_of_a_run_is_known_when_there_is_exactly_one() {
        let run = RunId::new("diffusion_H512L2_20260223_203349");
        let other_forms = TagForms { train: "t-{date}-{run}".to_owned(), ..forms() };
        for (forms, tags, expected) in [
            (&forms(), &["train/diffusion_H512L2_20260223"][..], Some(0)),
            (&forms(), &["train/diffusion_H512L2_20260223-2"], Some(0)),
            (
                &forms(),
                &["train/diffusion_H512L2_20260223", "train/diffusion_H512L2_20260223-2"],
                None,
            ),
            (
                &forms(),
                &["train/diffusion_H512L2_20260223", "train/diffusion_H512L2_20260223_203349"],
                Some(1),
            ),
            (&forms(), &["train/diffusion_H512L2_20260224", "arch/x"], None),
            (&forms(), &["train/diffusion_H512L2_20260223x", "train/diffusion_H512L2"], None),
            (&forms(), &[], None),
            (
                &other_forms,
                &["t-20260223-diffusion_H512L2", "t-20260224-diffusion_H512L2"],
                Some(0),
            ),
            (&other_forms, &["train/diffusion_H512L2_20260223"], None),
        ] {
            let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            let expected = expected.and_then(|index: usize| tags.get(index).cloned());
            assert_eq!(tag_of_run(forms, &tags, &run).map(str::to_owned), expected, "{tags:?}");
        }
    }

    #[test]
    fn names_are_made_and_read_again() {
        let day = date(2026, 2, 23);
        let made = tag_name(&forms(), TagKind::Train, "diffusion_H512L6C128D2", day);
        assert_eq!(made, "train/diffusion_H512L6C128D2_20260223");
        let taken = [made.clone(), format!("{made}-2")];
        let second = free_name(&made, |name| taken.iter().any(|taken| taken == name));
        assert_eq!(second, format!("{made}-3"));
        for (tag, expected) in [
            (made.as_str(), Some((TagKind::Train, "diffusion_H512L6C128D2", Some(day), 1))),
            (second.as_str(), Some((TagKind::Train, "diffusion_H512L6C128D2", Some(day), 3))),
            (
                "arch/tsdae-overhaul-20260221",
                Some((TagKind::Arch, "tsdae-overhaul-20260221", None, 1)),
            ),
            ("eval/mrpc_20260223", Some((TagKind::Eval, "mrpc", Some(day), 1))),
            ("arch/x-2", Some((TagKind::Arch, "x-2", None, 1))),
            ("train/x", None),
            ("train/_20260223", None),
            ("train/x_20261323", None),
            ("train/x_2026022", None),
            ("train/x_20260223-0", None),
            ("train/x_20260223-1", None),
            ("arch/", None),
            ("v1.0", None),
            ("train/é_20260223", Some((TagKind::Train, "é", Some(day), 1))),
        ] {
            let read = read_tag(&forms(), tag);
            let read = read.as_ref().map(|t| (t.kind, t.name.as_str(), t.date, t.repeat));
            assert_eq!(read, expected, "{tag}");
        }
    }

    #[test]
    fn the_day_may_stand_anywhere_in_a_form() {
        let forms = TagForms { train: "{date}/{run}".to_owned(), ..forms() };
        let made = tag_name(&forms, TagKind::Train, "a", date(2026, 1, 2));
        assert_eq!(made, "20260102/a");
        let read = read_tag(&forms, &made).unwrap();
        assert_eq!(
            (read.kind, read.name.as_str(), read.date),
            (TagKind::Train, "a", Some(date(2026, 1, 2)))
        );
    }

    #[test]
    fn a_wanted_tag_has_its_form_or_is_refused_with_what_would_do() {
        let day = date(2026, 2, 23);
        for (kind, name, expected) in [
            (TagKind::Arch, "xattn-only", Ok("arch/xattn-only")),
            (TagKind::Arch, "arch/xattn-only", Ok("arch/xattn-only")),
            (TagKind::Train, "diffusion_H512L6C128D2", Ok("train/diffusion_H512L6C128D2_20260223")),
            (TagKind::Train, "train/x_20260101-2", Ok("train/x_20260101-2")),
            (TagKind::Eval, "mrpc", Ok("eval/mrpc_20260223")),
            (TagKind::Arch, "cross attention é", Err("`cross-attention-é` would do")),
            (TagKind::Arch, "", Err("git takes no such name")),
            (TagKind::Train, "train/x", Err("give `{run}` alone")),
            (TagKind::Train, "x_20260223_203349", Err("without its date")),
            (TagKind::Train, "x_20260223", Err("without its date")),
            (TagKind::Arch, "a..b", Err("git takes no such name")),
            (TagKind::Arch, "x/", Err("git takes no such name")),
            (TagKind::Arch, "-x", Err("give `{feature}` alone")),
        ] {
            let made = wanted_tag(&forms(), kind, name, day);
            match (made, expected) {
                (Ok(made), Ok(expected)) => assert_eq!(made.tag(&forms(), day), expected),
                (Err(wrong), Err(expected)) => {
                    assert!(wrong.to_string().contains(expected), "{wrong}");
                }
                (made, expected) => panic!("{name}: {made:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn the_subject_of_a_message_is_its_first_line_that_counts() {
        let prefixes = ["fix".to_owned()];
        for message in ["", "# only a comment\n", "\n\nfix: x\n\nlonger: text", "fix(a): x\r\n"] {
            assert_eq!(check_message(&prefixes, message), Ok(()), "{message}");
        }
        for message in ["\nwip\nfix: x", "# c\nfixes: x"] {
            assert!(check_message(&prefixes, message).is_err(), "{message}");
        }
    }

    #[test]
    fn subjects_need_a_known_prefix() {
        let prefixes = ["arch", "fix", "docs"].map(str::to_owned);
        for subject in [
            "arch: cross-attention only",
            "fix(upload): retry",
            "fix!: drop the old form",
            "docs(log)!: x",
            "Merge branch 'main' of host",
            "Revert \"arch: x\"",
            "fixup! anything",
        ] {
            assert_eq!(check_subject(&prefixes, subject), Ok(()), "{subject}");
        }
        let known = || "`arch:`, `fix:`, `docs:`".to_owned();
        for (subject, problem) in [
            ("cleanup", SubjectProblem::None(known())),
            ("", SubjectProblem::None(known())),
            (": x", SubjectProblem::None(known())),
            ("a note: x", SubjectProblem::None(known())),
            ("chore: x", SubjectProblem::Unknown("chore".to_owned(), known())),
            ("Fix: x", SubjectProblem::Unknown("Fix".to_owned(), known())),
            ("fix(): x", SubjectProblem::Unknown("fix()".to_owned(), known())),
            ("fix:  ", SubjectProblem::Empty("fix".to_owned())),
        ] {
            assert_eq!(check_subject(&prefixes, subject), Err(problem), "{subject}");
        }
        assert_eq!(check_subject(&[], "anything"), Ok(()));
    }
}
