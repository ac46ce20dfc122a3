//! Values that are written as words: devices, modes, patterns, and the words nearest to a
//! misspelt one.

use regex::Regex;

use super::problem::{Fault, shortened};
use super::units::parse_duration;
use super::{Adopt, Backend, Device, Launcher, LogWrite, Platform};
use crate::model::measurement::Severity;
use crate::model::observation::{HeaderMeaning, RunColumn};

/// How alike (Jaro-Winkler, 0 to 1) a word must be to be suggested; `min` for `minn` is 0.94,
/// `watch` for `wandb` 0.68.
const ALIKE: f64 = 0.82;

/// Longer words, in bytes, are compared with none; the comparison takes quadratic time.
const LONGEST_MISSPELT: usize = 100;

/// Returns the known word that is most like this one, if any is much like it.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_MISSPELT {
        return None;
    }
    let plain = word.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&plain, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate)
}

/// Finds the meaning of one of a few words.
///
/// # Errors
///
/// A fault that lists the words, with the nearest as a suggestion.
pub(super) fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*meaning);
    }
    let list: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let problem = format!("`{}` is not one of {}", shortened(text), list.join(", "));
    let meant = nearest(text, words.iter().map(|(word, _)| *word));
    Err(Fault { problem, suggestion: meant.map(|word| format!("\"{word}\"")) })
}

/// Parses `auto`, `inotify` or `poll`.
pub(super) fn parse_backend(text: &str) -> Result<Backend, Fault> {
    one_of(text, &[("auto", Backend::Auto), ("inotify", Backend::Inotify), ("poll", Backend::Poll)])
}

/// Parses `local`, the only place so far.
pub(super) fn parse_launcher(text: &str) -> Result<Launcher, Fault> {
    one_of(text, &[("local", Launcher::Local)])
}

/// Parses `in-place` or `branch`.
pub(super) fn parse_log_write(text: &str) -> Result<LogWrite, Fault> {
    one_of(text, &[("in-place", LogWrite::InPlace), ("branch", LogWrite::Branch)])
}

/// Parses where a script runs.
pub(super) fn parse_platform(text: &str) -> Result<Platform, Fault> {
    one_of(text, &Platform::ALL.map(|platform| (platform.as_str(), platform)))
}

/// Checks the address of a service, without a query.
pub(super) fn check_base_url(text: &str) -> Result<(), Fault> {
    let url = url::Url::parse(text)
        .map_err(|error| Fault::new(format!("is no address such as `https://…`: {error}")))?;
    if !matches!(url.scheme(), "https" | "http") || url.query().is_some() {
        return Err(Fault::new("must begin with `https://` (or `http://`), and hold no `?`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new("must hold no user name and no password"));
    }
    Ok(())
}

/// Parses `warn` or `fail`.
pub(super) fn parse_severity(text: &str) -> Result<Severity, Fault> {
    one_of(text, &[("warn", Severity::Warn), ("fail", Severity::Fail)])
}

/// Parses what a column of the run table holds: `run_id`, or the name of a fillable column.
pub(super) fn parse_header(text: &str) -> Result<HeaderMeaning, Fault> {
    let columns = RunColumn::ALL.map(|column| (column.as_str(), HeaderMeaning::Column(column)));
    let words: Vec<(&str, HeaderMeaning)> =
        [("run_id", HeaderMeaning::RunId)].into_iter().chain(columns).collect();
    one_of(text, &words)
}

/// Parses `auto`, `cpu` or `cuda:N`.
pub(super) fn parse_device(text: &str) -> Result<Device, Fault> {
    let cuda = text.strip_prefix("cuda:").filter(|number| !number.starts_with('+'));
    match (text, cuda.and_then(|number| number.parse().ok())) {
        ("auto", _) => Ok(Device::Auto),
        ("cpu", _) => Ok(Device::Cpu),
        (_, Some(number)) => Ok(Device::Cuda(number)),
        _ => {
            let text = shortened(text);
            let meant = nearest(&text, ["auto", "cpu", "cuda:0"]);
            Err(Fault {
                problem: format!("`{text}` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` …"),
                suggestion: meant.map(|word| format!("\"{word}\"")),
            })
        }
    }
}

/// Parses `all` or a duration.
pub(super) fn parse_adopt(text: &str) -> Result<Adopt, Fault> {
    if text == "all" {
        return Ok(Adopt::All);
    }
    parse_duration(text).map(Adopt::YoungerThan).map_err(|fault| {
        let suggestion = nearest(text, ["all"]).map(|word| format!("\"{word}\""));
        Fault {
            problem: format!("{}, and not `all`", fault.problem),
            suggestion: fault.suggestion.or(suggestion),
        }
    })
}

/// Parses permission bits in octal digits, such as `0660`; at most `0777`.
pub(super) fn parse_mode(text: &str) -> Result<u32, Fault> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= 0o777).ok_or_else(|| {
        let text = shortened(text);
        Fault::new(format!("`{text}` is not a file mode in octal digits, such as `0660`"))
    })
}

/// Compiles a regular expression.
pub(super) fn parse_pattern(text: &str) -> Result<Regex, Fault> {
    if text.is_empty() {
        return Err(Fault::new("is empty and would take every folder for a run"));
    }
    Regex::new(text).map_err(|error| {
        // The last line of this error says what is wrong; those before it draw the pattern.
        let message = error.to_string();
        let reason = message.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        Fault::new(format!("`{}` is not a regular expression: {reason}", shortened(text)))
    })
}

/// Checks a path as it may stand in a configuration.
///
/// # Errors
///
/// A fault for an empty path, a NUL byte, and `~`, which only shells expand.
pub(super) fn check_path(text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() {
        return Err(Fault::new("must not be empty"));
    }
    if text.contains('\0') {
        return Err(Fault::new("a path cannot hold a NUL byte"));
    }
    if text == "~" || text.starts_with("~/") {
        return Err(Fault::new("`~` is not expanded here; write the whole path"));
    }
    Ok(())
}

/// Checks a path that may hold `*`, `?`, `[…]`, and `**` as a whole component.
pub(super) fn check_glob(text: &str) -> Result<(), Fault> {
    check_path(text)?;
    let bad = |why: &str| Err(Fault::new(format!("`{}` is a bad glob: {why}", shortened(text))));
    for component in text.split('/') {
        if component.contains("**") && component != "**" {
            return bad("`**` must stand alone between two `/`");
        }
        let mut rest = component;
        while let Some((_, after)) = rest.split_once('[') {
            // A `]` that comes first in a class stands for itself, also after `!` or `^`.
            let class = after.strip_prefix(['!', '^']).unwrap_or(after);
            let class = class.strip_prefix(']').unwrap_or(class);
            match class.split_once(']') {
                Some((_, after_class)) => rest = after_class,
                None => return bad("`[` has no `]`"),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn misspelt_words_find_their_neighbors_and_strange_ones_do_not() {
        let known = ["reconcile", "backend", "settle", "stuck_after", "min", "max"];
        for (word, meant) in [
            ("reconsile", Some("reconcile")),
            ("setle", Some("settle")),
            ("Settle", Some("settle")),
            ("stuck-after", Some("stuck_after")),
            ("stuckafter", Some("stuck_after")),
            ("minn", Some("min")),
            ("maxx", Some("max")),
            ("alerts", None),
            ("url", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
    }

    #[test]
    fn words_that_are_understood() {
        assert_eq!(parse_device("auto"), Ok(Device::Auto));
        assert_eq!(parse_device("cpu"), Ok(Device::Cpu));
        assert_eq!(parse_device("cuda:13"), Ok(Device::Cuda(13)));
        assert_eq!(parse_launcher("local"), Ok(Launcher::Local));
        assert!(parse_launcher("slurm").is_err());
        assert_eq!(parse_backend("poll"), Ok(Backend::Poll));
        assert_eq!(parse_severity("warn"), Ok(Severity::Warn));
        assert_eq!(parse_adopt("all"), Ok(Adopt::All));
        assert_eq!(parse_adopt("1d"), Ok(Adopt::YoungerThan(std::time::Duration::from_hours(24))));
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert_eq!(parse_mode("600"), Ok(0o600));
        assert!(parse_pattern(r"_\d{8}_\d{6}$").is_ok());
        for glob in
            ["Cache/logs/shell", "logs/shell_*.log", "a/**/b?", "[]a]x", "[!]]", "/abs/[0-9]"]
        {
            assert_eq!(check_glob(glob), Ok(()), "{glob}");
        }
    }

    #[test]
    fn words_that_are_refused() {
        let line = |word: &str, fault: Option<Fault>| match fault {
            Some(fault) => format!("{} {:?}\n", fault.problem, fault.suggestion),
            None => format!("{word} was accepted\n"),
        };
        let mut lines = String::new();
        for word in ["", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "cuda:99999999999", "CPU"] {
            lines += &line(word, parse_device(word).err());
        }
        lines += &line("inotfy", parse_backend("inotfy").err());
        lines += &line("error", parse_severity("error").err());
        lines += &line("al", parse_adopt("al").err());
        lines += &line("30", parse_adopt("30").err());
        for word in ["", "660x", "0o660", "0680", "66", "07777", "1777", "+660"] {
            lines += &line(word, parse_mode(word).err());
        }
        for word in ["", "(", "a{99999999}", "[z-a]"] {
            lines += &line(word, parse_pattern(word).err());
        }
        for word in ["", "  ", "~/x", "a\0b", "shell_[.log", "a/[]/b", "logs/**.log"] {
            lines += &line(word, check_glob(word).err());
        }
        expect![[r#"
            `` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … None
            `gpu` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … None
            `cuda` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … Some("\"cuda:0\"")
            `cuda:` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … Some("\"cuda:0\"")
            `cuda:-1` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … Some("\"cuda:0\"")
            `cuda:x` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … Some("\"cuda:0\"")
            `cuda:99999999999` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … Some("\"cuda:0\"")
            `CPU` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` … Some("\"cpu\"")
            `inotfy` is not one of `auto`, `inotify`, `poll` Some("\"inotify\"")
            `error` is not one of `warn`, `fail` None
            `al` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit, and not `all` Some("\"all\"")
            `30` is not a duration like `30s`, `15m` or `1h30m`: a number has no unit, and not `all` Some("\"30s\"")
            `` is not a file mode in octal digits, such as `0660` None
            `660x` is not a file mode in octal digits, such as `0660` None
            `0o660` is not a file mode in octal digits, such as `0660` None
            `0680` is not a file mode in octal digits, such as `0660` None
            `66` is not a file mode in octal digits, such as `0660` None
            `07777` is not a file mode in octal digits, such as `0660` None
            `1777` is not a file mode in octal digits, such as `0660` None
            `+660` is not a file mode in octal digits, such as `0660` None
            is empty and would take every folder for a run None
            `(` is not a regular expression: unclosed group None
            `a{99999999}` is not a regular expression: Compiled regex exceeds size limit of 10485760 bytes. None
            `[z-a]` is not a regular expression: invalid character class range, the start must be <= the end None
            must not be empty None
            must not be empty None
            `~` is not expanded here; write the whole path None
            a path cannot hold a NUL byte None
            `shell_[.log` is a bad glob: `[` has no `]` None
            `a/[]/b` is a bad glob: `[` has no `]` None
            `logs/**.log` is a bad glob: `**` must stand alone between two `/` None
        "#]].assert_eq(&lines);
    }
}
