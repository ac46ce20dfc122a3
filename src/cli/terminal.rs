//! Lines for a terminal: cleaned of what would act on it, clipped to its width, colored only
//! when asked.

use std::time::Duration;

use crate::model::measurement::Verdict;
use crate::model::time::Moment;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tint {
    /// As the terminal's own text.
    #[default]
    Plain,
    /// Headings and names.
    Bold,
    /// What matters less.
    Dim,
    /// Healthy.
    Green,
    /// Deserves a look.
    Yellow,
    /// Wrong.
    Red,
}

impl Tint {
    /// Returns the parameter of the "select graphic rendition" sequence (ECMA-48, 8.3.117).
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Bold => Some("1"),
            Self::Dim => Some("2"),
            Self::Green => Some("32"),
            Self::Yellow => Some("33"),
            Self::Red => Some("31"),
        }
    }
}

/// One line made of pieces; all text that enters it is cleaned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Line {
    pieces: Vec<(Tint, String)>,
}

impl Line {
    /// Starts a line with this many spaces.
    pub fn indented(columns: usize) -> Self {
        Self { pieces: vec![(Tint::Plain, " ".repeat(columns))] }
    }

    /// Appends a piece.
    #[must_use]
    pub fn with(mut self, tint: Tint, text: &str) -> Self {
        self.pieces.push((tint, clean(text)));
        self
    }

    /// Appends another line.
    #[must_use]
    pub fn followed_by(mut self, other: Self) -> Self {
        self.pieces.extend(other.pieces);
        self
    }

    /// Appends a piece filled up with spaces to a number of columns.
    #[must_use]
    pub fn padded(mut self, tint: Tint, text: &str, columns: usize) -> Self {
        let text = clean(text);
        let spaces = columns.saturating_sub(text.chars().count());
        self.pieces.extend([(tint, text), (Tint::Plain, " ".repeat(spaces))]);
        self
    }

    /// Prints the line without a newline, at most `width` columns wide; a longer one ends in `…`.
    pub fn print(&self, width: usize, colored: bool) -> String {
        let columns: usize = self.pieces.iter().map(|(_, text)| text.chars().count()).sum();
        let mut room = if columns > width { width.saturating_sub(1) } else { width };
        let mut printed = String::new();
        for (tint, text) in &self.pieces {
            let kept: String = text.chars().take(room).collect();
            room -= kept.chars().count();
            match tint.code() {
                Some(code) if colored && !kept.is_empty() => {
                    printed.extend(["\u{1b}[", code, "m", &kept, "\u{1b}[0m"]);
                }
                _ => printed.push_str(&kept),
            }
        }
        if columns > width {
            printed.push('…');
        }
        printed.truncate(printed.trim_end_matches(' ').len());
        printed
    }
}

/// Breaks a text between its words into lines of at most `width` columns that all begin `indent`
/// columns to the right; a longer word stays whole, for [`Line::print`] to clip.
pub fn wrapped(tint: Tint, text: &str, indent: usize, width: usize) -> Vec<Line> {
    let room = width.saturating_sub(indent);
    let text = clean(text);
    let (mut rows, mut columns): (Vec<String>, usize) = (Vec::new(), 0);
    for word in text.split(' ') {
        let needed = word.chars().count();
        match rows.last_mut() {
            Some(row) if columns.saturating_add(needed) < room => {
                row.extend([" ", word]);
                columns += needed + 1;
            }
            _ => {
                rows.push(word.to_owned());
                columns = needed;
            }
        }
    }
    rows.iter().map(|row| Line::indented(indent).with(tint, row)).collect()
}

/// Replaces what would act on a terminal: escape sequences vanish, other control characters become
/// spaces, and marks that turn the direction of writing vanish.
pub fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => skip_sequence(&mut letters),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            '\u{2028}' | '\u{2029}' => cleaned.push(' '),
            control if control.is_control() => cleaned.push(' '),
            plain => cleaned.push(plain),
        }
    }
    cleaned
}

/// Passes over the rest of an escape sequence (ECMA-48: a final byte ends a control sequence).
fn skip_sequence(letters: &mut std::str::Chars<'_>) {
    if letters.clone().next() != Some('[') {
        return;
    }
    letters.next();
    for letter in letters.by_ref() {
        if ('\u{40}'..='\u{7e}').contains(&letter) {
            return;
        }
    }
}

/// Shortens a name in its middle: run ids begin with what they are and end with when they began.
pub fn shorten(name: &str, columns: usize) -> String {
    let count = name.chars().count();
    if count <= columns {
        return name.to_owned();
    }
    let kept = columns.saturating_sub(1);
    let head = kept / 2;
    let start: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(count - (kept - head)).collect();
    format!("{start}…{end}")
}

/// Prints a duration in its two largest units: `12 s`, `4 min`, `3 h 12 min`, `2 d 4 h`.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Prints bytes with three digits and a binary unit: `512 B`, `11.4 MiB`, `64.0 GiB`.
pub fn bytes_text(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = units.into_iter().find(|&(shift, _)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let whole = bytes >> shift;
    // Tenths are taken from the ten bits below the unit; rounding down never claims more than is.
    let tenths = ((bytes >> (shift - 10)) & 0x3ff) * 10 / 1024;
    if whole < 100 { format!("{whole}.{tenths} {unit}") } else { format!("{whole} {unit}") }
}

/// Prints an RFC 3339 time as local date and time without year: `02-25 14:03`.
pub fn clock_text(time: &str) -> String {
    let local =
        Moment::parse(time).map(|moment| moment.local().strftime("%m-%d %H:%M").to_string());
    local.unwrap_or_else(|| time.to_owned())
}

/// Returns how a verdict looks.
pub fn verdict_tint(verdict: Verdict) -> Tint {
    match verdict {
        Verdict::Pass => Tint::Green,
        Verdict::Warn | Verdict::Unknown => Tint::Yellow,
        Verdict::Fail => Tint::Red,
    }
}

/// Returns how a run's state looks.
pub fn state_tint(state: &str) -> Tint {
    match state {
        "training" | "complete" => Tint::Green,
        "failed" => Tint::Red,
        "stalled" | "unknown" => Tint::Yellow,
        _ => Tint::Dim,
    }
}

/// Prints a rank with one decimal, or with as many as keep it on its own side of the threshold.
pub fn rank_text(rank: f64, threshold: Option<f64>) -> String {
    let printed = |decimals: usize| format!("{rank:.decimals$}");
    let honest = |text: &String| {
        let shown = text.parse::<f64>().unwrap_or(rank);
        threshold.is_none_or(|threshold| (shown < threshold) == (rank < threshold))
    };
    (1..=6).map(printed).find(honest).unwrap_or_else(|| rank.to_string())
}

/// Draws numbers as bars over zero, so that a collapse looks like one; `·` stands for a number
/// that is not there or not finite.
pub fn spark_line(numbers: &[Option<f64>]) -> String {
    let highest = numbers.iter().flatten().copied().fold(0.0, f64::max);
    numbers.iter().map(|number| number.map_or('·', |number| bar(number / highest))).collect()
}

/// Returns the bar for a share of the highest value, 0 to 1.
fn bar(share: f64) -> char {
    match share {
        share if share > 0.8 => '▇',
        share if share > 0.6 => '▅',
        share if share > 0.4 => '▃',
        share if share > 0.2 => '▂',
        _ => '▁',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_act_on_the_terminal() {
        for (text, cleaned) in [
            ("plain ä 漢", "plain ä 漢"),
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}x", "]0;title x"),
            ("a\r\nb\tc\u{0}d\u{85}e", "a  b c d e"),
            ("evil\u{202e}gpj.exe", "evilgpj.exe"),
            ("\u{1b}[", ""),
            ("\u{1b}", ""),
            ("\u{1b}[31", ""),
        ] {
            assert_eq!(clean(text), cleaned, "{text:?}");
            assert_eq!(
                Line::default().with(Tint::Plain, text).print(99, false),
                cleaned.trim_end()
            );
        }
    }

    #[test]
    fn lines_keep_to_the_width_and_color_only_when_asked() {
        let line = Line::indented(2).padded(Tint::Red, "fail", 6).with(Tint::Plain, "because");
        for (width, plain) in [
            (80, "  fail  because"),
            (15, "  fail  because"),
            (14, "  fail  becau…"),
            (5, "  fa…"),
            (1, "…"),
        ] {
            assert_eq!(line.print(width, false), plain, "{width}");
            assert!(plain.chars().count() <= width);
        }
        assert_eq!(line.print(80, true), "  \u{1b}[31mfail\u{1b}[0m  because");
        assert_eq!(line.print(4, true), "  \u{1b}[31mf\u{1b}[0m…");
    }

    #[test]
    fn long_texts_break_between_words_and_lose_none() {
        for (width, rows) in [
            (usize::MAX, &["  free some space  now"][..]),
            (22, &["  free some space  now"]),
            (21, &["  free some space ", "  now"]),
            (12, &["  free some", "  space  now"]),
            (8, &["  free", "  some", "  space", "  now"]),
            (0, &["  free", "  some", "  space", "", "  now"]),
        ] {
            let lines = wrapped(Tint::Red, "free some space\u{1b}[0m  now", 2, width);
            let printed: Vec<String> = lines.iter().map(|line| line.print(99, false)).collect();
            let rows: Vec<&str> = rows.iter().map(|row| row.trim_end()).collect();
            assert_eq!(printed, rows, "{width}");
        }
    }

    #[test]
    fn names_are_shortened_in_their_middle() {
        assert_eq!(shorten("diffusion_20260223", 18), "diffusion_20260223");
        assert_eq!(shorten("diffusion_20260223", 9), "diff…0223");
        assert_eq!(shorten("äöü_äöü", 4), "ä…öü");
        assert_eq!(shorten("abc", 0), "…");
    }

    #[test]
    fn durations_are_for_people() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (183_600, "2 d 3 h"),
        ] {
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (12_000_000, "11.4 MiB"),
            (68_719_476_736, "64.0 GiB"),
            (137_438_953_471, "127 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
    }

    #[test]
    fn a_rank_stays_on_its_side_of_the_gate() {
        for (rank, threshold, text) in [
            (10.14, Some(10.0), "10.1"),
            (9.96, Some(10.0), "9.96"),
            (9.999_96, Some(10.0), "9.99996"),
            (9.96, None, "10.0"),
            (10.0, Some(10.0), "10.0"),
            (2.5, Some(2.5), "2.5"),
            (4.96, Some(5.0), "4.96"),
        ] {
            assert_eq!(rank_text(rank, threshold), text);
        }
    }
}
