//! What one value may be, whether it stands in a TOML file or in an environment variable.

use config::ValueKind;

use super::problem::{Fault, shortened};
use super::toml_text;
use super::units::parse_size;

/// What one key's value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// `true` or `false`.
    Flag,
    /// A whole number within limits.
    Whole { least: i64, most: i64 },
    /// A finite number larger than this.
    Number { above: f64 },
    /// A size: text with a unit, or a number of bytes.
    Size,
    /// Text that a function accepts.
    Text(fn(&str) -> Result<(), Fault>),
    /// A list of texts, each of which a function accepts.
    Texts(fn(&str) -> Result<(), Fault>),
    /// A table of texts under names of any spelling, each pair of which a function accepts.
    Table(fn(&str, &str) -> Result<(), Fault>),
}

impl Rule {
    /// Checks a value; the entries of a table are checked by [`Rule::check_entry`].
    ///
    /// # Errors
    ///
    /// A fault that says what is wrong and, where that is clear, what to write.
    pub(super) fn check(&self, value: &ValueKind) -> Result<(), Fault> {
        match (self, value) {
            (Self::Flag, ValueKind::Boolean(_)) | (Self::Table(_), ValueKind::Table(_)) => Ok(()),
            (Self::Whole { least, most }, ValueKind::I64(number)) => within(*number, *least, *most),
            (Self::Number { above }, ValueKind::Float(number)) => finite_above(*number, *above),
            (Self::Number { above }, ValueKind::I64(number)) => {
                let number = i32::try_from(*number).map_err(|_| Fault::new("is out of range"))?;
                finite_above(f64::from(number), *above)
            }
            (Self::Size, ValueKind::I64(bytes)) => within(*bytes, 0, i64::MAX),
            (Self::Size, ValueKind::String(text)) => parse_size(text).map(drop),
            (Self::Text(accept), ValueKind::String(text)) => without_nul(text, *accept),
            (Self::Texts(accept), ValueKind::Array(items)) => check_items(items, *accept),
            _ => Err(self.mismatch(value)),
        }
    }

    /// Checks one entry of a table.
    pub(super) fn check_entry(&self, name: &str, value: &ValueKind) -> Result<(), Fault> {
        match (self, value) {
            (Self::Table(accept), ValueKind::String(text)) => {
                without_nul(name, |_| Ok(()))?;
                without_nul(text, |text| accept(name, text))
            }
            (Self::Table(_), _) => Err(Self::Text(|_| Ok(())).mismatch(value)),
            _ => Err(Fault::new("is not a table")),
        }
    }

    /// Reads the text of an environment variable as the kind of value that this rule asks for.
    ///
    /// # Errors
    ///
    /// A fault for text that cannot be such a value; limits are left to [`Rule::check`].
    pub(super) fn read_variable(&self, text: &str) -> Result<ValueKind, Fault> {
        let not = |what: &str| Fault::new(format!("expected {what}, found `{}`", shortened(text)));
        match self {
            Self::Flag => text.parse().map(ValueKind::Boolean).map_err(|_| not(self.expected())),
            Self::Whole { .. } => {
                text.parse().map(ValueKind::I64).map_err(|_| not(self.expected()))
            }
            Self::Number { .. } => {
                text.parse().map(ValueKind::Float).map_err(|_| not(self.expected()))
            }
            Self::Size | Self::Text(_) => Ok(ValueKind::String(text.to_owned())),
            Self::Texts(_) if text.trim_start().starts_with('[') => toml_text::read_list(text),
            Self::Texts(_) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                Ok(items.collect::<Vec<_>>().into())
            }
            Self::Table(_) => Err(Fault::new(
                "is a table; set one entry of it, with `__` and the entry's name at the end",
            )),
        }
    }

    fn expected(&self) -> &'static str {
        match self {
            Self::Flag => "`true` or `false`",
            Self::Whole { .. } => "a whole number",
            Self::Number { .. } => "a number",
            Self::Size => "a size such as \"4GiB\"",
            Self::Text(_) => "text in quotes",
            Self::Texts(_) => "a list of texts",
            Self::Table(_) => "a table of texts",
        }
    }

    /// States that a value has the wrong type, and suggests the same value in the right one.
    fn mismatch(&self, value: &ValueKind) -> Fault {
        let problem = format!("expected {}, found {}", self.expected(), described(value));
        let plain = match value {
            ValueKind::String(text) => text.clone(),
            ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_) => value.to_string(),
            _ => return Fault::new(problem),
        };
        let suggestion = match self {
            Self::Flag | Self::Whole { .. } | Self::Number { .. } => {
                self.read_variable(&plain).ok().map(|_| plain)
            }
            Self::Text(accept) => match accept(&plain) {
                Ok(()) => Some(toml_text::quoted(&plain)),
                Err(fault) => fault.suggestion,
            },
            Self::Texts(accept) => {
                accept(&plain).ok().map(|()| format!("[{}]", toml_text::quoted(&plain)))
            }
            Self::Size | Self::Table(_) => None,
        };
        Fault { problem, suggestion }
    }
}

fn check_items(
    items: &[config::Value],
    accept: fn(&str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    for (index, item) in items.iter().enumerate() {
        let checked = match &item.kind {
            ValueKind::String(text) => without_nul(text, accept),
            other => Err(Rule::Text(accept).mismatch(other)),
        };
        checked.map_err(|fault| Fault {
            problem: format!("item {}: {}", index + 1, fault.problem),
            suggestion: fault.suggestion,
        })?;
    }
    Ok(())
}

/// Refuses NUL, which neither a path nor an argument of a process can hold.
fn without_nul(text: &str, accept: impl Fn(&str) -> Result<(), Fault>) -> Result<(), Fault> {
    if text.contains('\0') {
        return Err(Fault::new("must not hold a NUL byte"));
    }
    accept(text)
}

fn within(number: i64, least: i64, most: i64) -> Result<(), Fault> {
    if number < least {
        return Err(Fault::new(format!("is {number} and must be at least {least}")));
    }
    if number > most {
        return Err(Fault::new(format!("is {number} and must be at most {most}")));
    }
    Ok(())
}

fn finite_above(number: f64, above: f64) -> Result<(), Fault> {
    if !number.is_finite() {
        return Err(Fault::new(format!("is {number} and must be a finite number")));
    }
    if number <= above {
        return Err(Fault::new(format!("is {number} and must be larger than {above}")));
    }
    Ok(())
}

/// Names a value in a message, bounded in length.
fn described(value: &ValueKind) -> String {
    match value {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::String(text) => format!("the text `{}`", shortened(text)),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::Boolean(flag) => format!("`{flag}`"),
        number => format!("the number {number}"),
    }
}
