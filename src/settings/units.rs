//! Durations and sizes as people write them: `1h30m`, `4GiB`.
//!
//! A strict grammar of our own: every number has a unit that is known, units fall from large to
//! small, and nothing is rounded. What is printed parses to the same value again.

use std::time::Duration;

use super::problem::{Fault, shortened};

/// The longest duration that is accepted, a century; timers overflow not far beyond.
pub const LONGEST_DURATION: Duration = Duration::from_hours(36_500 * 24);

/// A unit, its size, and the spellings that are accepted; the first is the one that is printed.
struct Unit {
    size: u64,
    spellings: &'static [&'static str],
}

/// Units of time in milliseconds, from large to small.
const TIMES: [Unit; 6] = [
    Unit { size: 604_800_000, spellings: &["w", "week", "weeks"] },
    Unit { size: 86_400_000, spellings: &["d", "day", "days"] },
    Unit { size: 3_600_000, spellings: &["h", "hour", "hours"] },
    Unit { size: 60_000, spellings: &["m", "min", "minute", "minutes"] },
    Unit { size: 1000, spellings: &["s", "sec", "second", "seconds"] },
    Unit { size: 1, spellings: &["ms", "millisecond", "milliseconds"] },
];

/// Units of size in bytes, from large to small.
const SIZES: [Unit; 9] = [
    Unit { size: 1 << 40, spellings: &["TiB"] },
    Unit { size: 1_000_000_000_000, spellings: &["TB"] },
    Unit { size: 1 << 30, spellings: &["GiB"] },
    Unit { size: 1_000_000_000, spellings: &["GB"] },
    Unit { size: 1 << 20, spellings: &["MiB"] },
    Unit { size: 1_000_000, spellings: &["MB"] },
    Unit { size: 1 << 10, spellings: &["KiB"] },
    Unit { size: 1000, spellings: &["kB"] },
    Unit { size: 1, spellings: &["B", "byte", "bytes"] },
];

/// Parses a duration such as `30s`, `1h30m`, `1.5h` or `90 days`.
///
/// # Errors
///
/// A fault for anything else: no unit, an unknown one, units that do not fall, less than a whole
/// millisecond, more than [`LONGEST_DURATION`].
pub fn parse_duration(text: &str) -> Result<Duration, Fault> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut smaller_than = u64::MAX;
    if rest.is_empty() {
        return Err(no_duration(text, "it is empty"));
    }
    while !rest.is_empty() {
        let (number, after_number) = split_while(rest, |letter| !is_number_part(letter));
        let (word, after_word) =
            split_while(after_number.trim_start(), |letter| !letter.is_alphabetic());
        if number.is_empty() {
            return Err(no_duration(text, "a number must come before each unit"));
        }
        if word.is_empty() {
            let meant = is_whole_number(text.trim()).then(|| format!("\"{}s\"", text.trim()));
            return Err(Fault { suggestion: meant, ..no_duration(text, "a number has no unit") });
        }
        let unit = TIMES
            .iter()
            .find(|unit| unit.spellings.contains(&word))
            .ok_or_else(|| no_duration(text, &format!("unknown unit `{}`", shortened(word))))?;
        if unit.size >= smaller_than {
            return Err(no_duration(text, "units must fall from large to small"));
        }
        let amount = times(number, unit.size)
            .ok_or_else(|| no_duration(text, &format!("bad number `{}`", shortened(number))))?;
        total = total.saturating_add(amount);
        smaller_than = unit.size;
        rest = after_word.trim_start();
    }
    let duration = Duration::from_millis(total);
    if duration > LONGEST_DURATION {
        return Err(no_duration(text, "it is longer than 100 years"));
    }
    Ok(duration)
}

/// Prints a duration so that [`parse_duration`] reads the same; parts of a millisecond are
/// dropped.
pub fn print_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    // Weeks are read and not printed: people say 90 days, not 12 weeks and 6 days.
    for unit in TIMES.iter().skip(1) {
        let count = rest / unit.size;
        if count > 0 {
            parts.push(format!("{count}{}", unit.printed()));
        }
        rest %= unit.size;
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.concat() }
}

/// Parses a size such as `4GiB`, `512 MB`, `1.5 TiB`, or plain bytes; returns bytes.
///
/// # Errors
///
/// A fault for anything else: an unknown unit, a part of a byte, more than 64 bits.
pub fn parse_size(text: &str) -> Result<u64, Fault> {
    let (number, rest) = split_while(text.trim(), |letter| !is_number_part(letter));
    let word = rest.trim_start();
    if number.is_empty() {
        return Err(no_size(text, "it must begin with a number"));
    }
    let known = |unit: &&Unit| unit.spellings.iter().any(|name| name.eq_ignore_ascii_case(word));
    let size = match SIZES.iter().find(known) {
        Some(unit) => unit.size,
        None if word.is_empty() => 1,
        None => {
            let meant =
                SIZES.iter().find(|unit| unit.printed().eq_ignore_ascii_case(&binary(word)));
            let suggestion = meant.map(|unit| format!("\"{number}{}\"", unit.printed()));
            let problem = format!("unknown unit `{}`", shortened(word));
            return Err(Fault { suggestion, ..no_size(text, &problem) });
        }
    };
    times(number, size).ok_or_else(|| no_size(text, &format!("bad number `{}`", shortened(number))))
}

/// Prints a size in the largest unit that needs no fraction; [`parse_size`] reads the same.
pub fn print_size(bytes: u64) -> String {
    let unit = SIZES.iter().find(|unit| bytes >= unit.size && bytes.is_multiple_of(unit.size));
    match unit {
        Some(unit) => format!("{}{}", bytes / unit.size, unit.printed()),
        None => format!("{bytes}B"),
    }
}

impl Unit {
    fn printed(&self) -> &'static str {
        self.spellings.first().copied().unwrap_or_default()
    }
}

/// Returns the binary unit that a bare letter such as `G` most likely stands for.
fn binary(word: &str) -> String {
    format!("{}iB", word.trim_end_matches("iB").trim_end_matches(['b', 'i']))
}

fn is_number_part(letter: char) -> bool {
    letter.is_ascii_digit() || letter == '.'
}

fn is_whole_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Splits a text where `ends` first holds.
fn split_while(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(ends).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// Multiplies a decimal number by a unit; `None` unless the result is a whole number that fits.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, fraction.trim_end_matches('0')),
        None => (number, ""),
    };
    let ends_in_point = number.ends_with('.');
    if ends_in_point
        || !is_whole_number(whole)
        || !(fraction.is_empty() || is_whole_number(fraction))
    {
        return None;
    }
    let part = if fraction.is_empty() {
        0
    } else {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let scaled = fraction.parse::<u128>().ok()?.checked_mul(u128::from(unit))?;
        u64::try_from((scaled % scale == 0).then_some(scaled / scale)?).ok()?
    };
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

fn no_duration(text: &str, why: &str) -> Fault {
    let text = shortened(text);
    Fault::new(format!("`{text}` is not a duration like `30s`, `15m` or `1h30m`: {why}"))
}

fn no_size(text: &str, why: &str) -> Fault {
    let text = shortened(text);
    Fault::new(format!("`{text}` is not a size like `4GiB`, `512 MB` or plain bytes: {why}"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::{any, proptest};

    use super::*;

    #[test]
    fn durations_people_write() {
        let cases: [(&str, u64); 16] = [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("15m", 900_000),
            ("15 min", 900_000),
            ("1h30m", 5_400_000),
            (" 1h 30m ", 5_400_000),
            ("24h", 86_400_000),
            ("90d", 7_776_000_000),
            ("2 weeks", 1_209_600_000),
            ("1.5h", 5_400_000),
            ("0.25s", 250),
            ("1.50s", 1500),
            ("1 day 2 hours", 93_600_000),
            ("36500d", 3_153_600_000_000),
            ("1s5ms", 1005),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_durations() {
        let texts = [
            "",
            " ",
            "30",
            "s",
            "-1s",
            "+1s",
            "1x",
            "1S",
            "1M",
            "30m1h",
            "1m1m",
            "1.s",
            ".5s",
            "1..5s",
            "1.2.3s",
            "0.0001s",
            "36501d",
            "99999999999999999999s",
            "1e3s",
            "1h,30m",
            "1\u{a0}h2",
            "٣s",
            "1h30",
            "inf",
            "1µs",
            "18446744073709551615w1d",
        ];
        let faults = texts.map(|text| match parse_duration(text) {
            Ok(duration) => format!("{text:?} was read as {duration:?}"),
            Err(fault) => format!("{} {:?}", fault.problem, fault.suggestion),
        });
        expect![[r#"
            `` is not a duration like `30s`, `15m` or `1h30m`: it is empty None
            ` ` is not a duration like `30s`, `15m` or `1h30m`: it is empty None
            `30` is not a duration like `30s`, `15m` or `1h30m`: a number has no unit Some("\"30s\"")
            `s` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit None
            `-1s` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit None
            `+1s` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit None
            `1x` is not a duration like `30s`, `15m` or `1h30m`: unknown unit `x` None
            `1S` is not a duration like `30s`, `15m` or `1h30m`: unknown unit `S` None
            `1M` is not a duration like `30s`, `15m` or `1h30m`: unknown unit `M` None
            `30m1h` is not a duration like `30s`, `15m` or `1h30m`: units must fall from large to small None
            `1m1m` is not a duration like `30s`, `15m` or `1h30m`: units must fall from large to small None
            `1.s` is not a duration like `30s`, `15m` or `1h30m`: bad number `1.` None
            `.5s` is not a duration like `30s`, `15m` or `1h30m`: bad number `.5` None
            `1..5s` is not a duration like `30s`, `15m` or `1h30m`: bad number `1..5` None
            `1.2.3s` is not a duration like `30s`, `15m` or `1h30m`: bad number `1.2.3` None
            `0.0001s` is not a duration like `30s`, `15m` or `1h30m`: bad number `0.0001` None
            `36501d` is not a duration like `30s`, `15m` or `1h30m`: it is longer than 100 years None
            `99999999999999999999s` is not a duration like `30s`, `15m` or `1h30m`: bad number `99999999999999999999` None
            `1e3s` is not a duration like `30s`, `15m` or `1h30m`: unknown unit `e` None
            `1h,30m` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit None
            `1 h2` is not a duration like `30s`, `15m` or `1h30m`: a number has no unit None
            `٣s` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit None
            `1h30` is not a duration like `30s`, `15m` or `1h30m`: a number has no unit None
            `inf` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit None
            `1µs` is not a duration like `30s`, `15m` or `1h30m`: unknown unit `µs` None
            `18446744073709551615w1d` is not a duration like `30s`, `15m` or `1h30m`: bad number `18446744073709551615` None"#]].assert_eq(&faults.join("\n"));
    }

    #[test]
    fn sizes_people_write() {
        let cases: [(&str, u64); 12] = [
            ("4GiB", 4 << 30),
            ("4 gib", 4 << 30),
            ("512 MB", 512_000_000),
            ("512MiB", 512 << 20),
            ("0", 0),
            ("0B", 0),
            ("1024", 1024),
            ("1.5KiB", 1536),
            ("1 kB", 1000),
            ("16777215TiB", 16_777_215 << 40),
            ("2 bytes", 2),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_sizes() {
        let texts = [
            "",
            "GiB",
            "4G",
            "4Gi",
            "4 gb b",
            "-1",
            "1.5",
            "1.0001KiB",
            "16777216TiB",
            "4XB",
            "1_000",
        ];
        let faults = texts.map(|text| match parse_size(text) {
            Ok(bytes) => format!("{text:?} was read as {bytes}"),
            Err(fault) => format!("{} {:?}", fault.problem, fault.suggestion),
        });
        expect![[r#"
            `` is not a size like `4GiB`, `512 MB` or plain bytes: it must begin with a number None
            `GiB` is not a size like `4GiB`, `512 MB` or plain bytes: it must begin with a number None
            `4G` is not a size like `4GiB`, `512 MB` or plain bytes: unknown unit `G` Some("\"4GiB\"")
            `4Gi` is not a size like `4GiB`, `512 MB` or plain bytes: unknown unit `Gi` Some("\"4GiB\"")
            `4 gb b` is not a size like `4GiB`, `512 MB` or plain bytes: unknown unit `gb b` None
            `-1` is not a size like `4GiB`, `512 MB` or plain bytes: it must begin with a number None
            `1.5` is not a size like `4GiB`, `512 MB` or plain bytes: bad number `1.5` None
            `1.0001KiB` is not a size like `4GiB`, `512 MB` or plain bytes: bad number `1.0001` None
            `16777216TiB` is not a size like `4GiB`, `512 MB` or plain bytes: bad number `16777216` None
            `4XB` is not a size like `4GiB`, `512 MB` or plain bytes: unknown unit `XB` None
            `1_000` is not a size like `4GiB`, `512 MB` or plain bytes: unknown unit `_000` None"#]].assert_eq(&faults.join("\n"));
    }

    #[test]
    fn prints_the_form_people_write() {
        let durations = [0, 250, 30_000, 5_400_000, 7_776_000_000]
            .map(|ms| print_duration(Duration::from_millis(ms)));
        assert_eq!(durations, ["0s", "250ms", "30s", "1h30m", "90d"]);
        let sizes = [0, 1, 1000, 1024, 4 << 30, 512_000_000].map(print_size);
        assert_eq!(sizes, ["0B", "1B", "1kB", "1KiB", "4GiB", "512MB"]);
    }

    proptest! {
        #[test]
        fn every_duration_is_read_as_it_was_printed(milliseconds in 0_u64..3_153_600_000_000) {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(&print_duration(duration)), Ok(duration));
        }

        #[test]
        fn every_size_is_read_as_it_was_printed(bytes in any::<u64>(), shift in 0_u32..50) {
            let bytes = bytes >> shift << shift;
            assert_eq!(parse_size(&print_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}", near in "[0-9.]{0,25} ?[a-zA-Zµ]{0,4}[0-9.smh ]{0,6}") {
            for text in [text, near] {
                if let Ok(duration) = parse_duration(&text) {
                    assert!(duration <= LONGEST_DURATION);
                }
                drop(parse_size(&text));
            }
        }
    }
}
