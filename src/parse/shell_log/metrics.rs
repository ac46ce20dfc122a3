//! Metric dictionaries: the Python dictionaries that the trainer prints.
//!
//! Source of the form: `str(logs)` in transformers' `ProgressCallback.on_log` and `PrinterCallback`
//! (4.57 prints bare numbers, 5.23 prints them quoted).

use std::collections::HashSet;

use bstr::ByteSlice;
use serde_json::{Number, Value};

/// More entries than any trainer prints; the rest of a longer dictionary is not kept.
const MAX_ENTRIES: usize = 256;
/// Longer keys are no metric names.
const MAX_KEY_BYTES: usize = 200;
/// Longer dictionaries are no metrics.
const MAX_DICTIONARY_BYTES: usize = 16 * 1024;
/// So many braces that begin no dictionary end the search in a frame: each costs a scan.
const MAX_MISSES: usize = 200;

/// What a metric dictionary is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A training log line: it has a `loss`.
    Train,
    /// An evaluation: its names begin with `eval_`.
    Eval,
    /// The summary at the end of training: it has a `train_runtime` or a `train_loss`.
    Summary,
}

impl MetricKind {
    /// Returns the name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Eval => "eval",
            Self::Summary => "summary",
        }
    }
}

/// A number as it was printed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricValue {
    /// Printed without fraction or exponent.
    Integer(i64),
    /// Printed as a floating-point number; may be NaN or infinite.
    Float(f64),
}

impl MetricValue {
    /// Returns the value as a floating-point number.
    #[expect(clippy::cast_precision_loss, reason = "step counts are far below 2^53")]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
        }
    }

    /// Returns the value as JSON; what is not finite is `null`.
    pub fn to_json(self) -> Value {
        match self {
            Self::Integer(value) => Value::from(value),
            Self::Float(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
        }
    }
}

/// One metric dictionary.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The line it stands on, counted from 1.
    pub line: u64,
    /// What it is about.
    pub kind: MetricKind,
    /// Its numbers, in the order of the log; values that are no numbers are left out.
    pub values: Vec<(String, MetricValue)>,
}

impl Metric {
    /// Returns a value by its name, NaN and infinities included.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_f64())
    }

    /// Returns the names of the values that are NaN or infinite.
    pub fn not_finite(&self) -> Vec<&str> {
        let not_finite = self.values.iter().filter(|(_, value)| !value.as_f64().is_finite());
        not_finite.map(|(name, _)| name.as_str()).collect()
    }
}

/// A metric dictionary and where it stands in its frame.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FoundMetric {
    pub(super) kind: MetricKind,
    pub(super) values: Vec<(String, MetricValue)>,
    /// Offset of its `{`.
    pub(super) begin: usize,
    /// Offset behind its `}`.
    pub(super) end: usize,
}

/// Finds the metric dictionaries of a frame, in order.
///
/// A dictionary behind prose needs a companion such as `epoch`, because people print
/// configurations like `Loss weights: {'task': 1.0}`.
pub(super) fn find_metrics(text: &[u8]) -> Vec<FoundMetric> {
    let mut found = Vec::new();
    let mut from = 0;
    let mut prose_from = 0;
    let mut misses = 0;
    while let Some(offset) = memchr::memchr(b'{', text.get(from..).unwrap_or_default()) {
        let begin = from + offset;
        from = begin + 1;
        let longest = text.len().min(begin + MAX_DICTIONARY_BYTES);
        let candidate = text.get(begin..longest).unwrap_or_default();
        let Some((entries, length)) = parse_dictionary(candidate) else {
            misses += 1;
            if misses == MAX_MISSES {
                break;
            }
            continue;
        };
        from = begin + length;
        let prose = text.get(prose_from..begin).unwrap_or_default();
        if let Some(kind) = kind_of(&entries, is_prefix(prose)) {
            let values = numbers_of(entries);
            found.push(FoundMetric { kind, values, begin, end: from });
            prose_from = from;
        }
    }
    found
}

/// Returns whether nothing but white space and a rank's prefix stands before a dictionary.
fn is_prefix(prose: &[u8]) -> bool {
    let prose = prose.trim_ascii();
    prose.is_empty() || (prose.starts_with(b"[") && prose.ends_with(b"]:"))
}

type Entry = (String, Option<MetricValue>);

fn kind_of(entries: &[Entry], stands_alone: bool) -> Option<MetricKind> {
    let numbers: HashSet<&str> = entries
        .iter()
        .filter(|(_, value)| value.is_some())
        .map(|(name, _)| name.as_str())
        .collect();
    let has = |name| numbers.contains(name);
    let has_companion = ["epoch", "learning_rate", "grad_norm", "step"].into_iter().any(has);
    if has("train_runtime") || (has("train_loss") && has_companion) {
        Some(MetricKind::Summary)
    } else if has("loss") {
        let is_metric = has_companion || (stands_alone && entries.len() == 1);
        is_metric.then_some(MetricKind::Train)
    } else {
        let is_eval = has("eval_loss") || has("eval_runtime");
        let has_eval_name = numbers.iter().any(|name| name.starts_with("eval_"));
        (is_eval || (has_eval_name && has("epoch"))).then_some(MetricKind::Eval)
    }
}

fn numbers_of(entries: Vec<Entry>) -> Vec<(String, MetricValue)> {
    entries.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Parses a Python dictionary with string keys; gives its entries and its length in bytes.
fn parse_dictionary(text: &[u8]) -> Option<(Vec<Entry>, usize)> {
    let mut reader = Reader { text, at: 0 };
    reader.take(b'{')?;
    let mut entries = Vec::new();
    loop {
        reader.skip_spaces();
        if reader.take(b'}').is_some() {
            return Some((entries, reader.at));
        }
        let key = reader.string()?;
        reader.skip_spaces();
        reader.take(b':')?;
        reader.skip_spaces();
        let value = reader.value()?;
        if entries.len() < MAX_ENTRIES && key.len() <= MAX_KEY_BYTES {
            entries.push((key.to_str_lossy().into_owned(), value.number()));
        }
        reader.skip_spaces();
        if reader.take(b',').is_none() && reader.peek() != Some(b'}') {
            return None;
        }
    }
}

/// Reads Python literals; every method leaves `at` inside the text.
#[derive(Debug)]
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    }

    /// Reads a quoted string and gives what stands between its quotes, escapes as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        let quote = self.peek().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        self.at += 1;
        let begin = self.at;
        loop {
            let offset = memchr::memchr2(quote, b'\\', self.rest())?;
            let at = self.at + offset;
            if self.text.get(at) == Some(&quote) {
                self.at = at + 1;
                return self.text.get(begin..at);
            }
            self.at = at.checked_add(2).filter(|next| *next <= self.text.len())?;
        }
    }

    /// Reads any value.
    fn value(&mut self) -> Option<Literal> {
        match self.peek()? {
            b'\'' | b'"' => self.string().map(literal),
            b'{' | b'[' => self.skip_nested().map(|()| Literal::Other),
            _ => self.bare_value(),
        }
    }

    /// Reads up to the next comma or brace: a number, a name such as `None`, or a call such as
    /// `np.float64(8.3)` or `tensor(8.3, device='cuda:0')`, which stands for its first argument.
    fn bare_value(&mut self) -> Option<Literal> {
        let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b'(' | b'\'' | b'"' | b'{' | b'[');
        let length = self.rest().iter().position(is_end)?;
        let word = self.rest().get(..length)?;
        self.at += length;
        if self.peek() != Some(b'(') {
            return (!word.trim_ascii().is_empty()).then(|| literal(word));
        }
        let arguments = self.rest();
        self.skip_nested()?;
        let first = arguments.get(1..)?.split(|byte| matches!(byte, b',' | b')')).next()?;
        Some(literal(first))
    }

    /// Skips a value in brackets with everything nested in it.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'\'' | b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' | b'(' => depth += 1,
                b'}' | b']' | b')' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// A Python value.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Literal {
    Number(MetricValue),
    Other,
}

impl Literal {
    fn number(self) -> Option<MetricValue> {
        match self {
            Self::Number(value) => Some(value),
            Self::Other => None,
        }
    }
}

fn literal(text: &[u8]) -> Literal {
    number(text).map_or(Literal::Other, Literal::Number)
}

/// Reads a Python number; anything else, names like `None` included, is none.
fn number(text: &[u8]) -> Option<MetricValue> {
    let text = text.trim_ascii().to_str().ok()?;
    if let Ok(value) = text.parse::<i64>() {
        return Some(MetricValue::Integer(value));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    // Rust also reads `infinity` and `NaN` in any case; Python prints only these.
    let is_python = matches!(unsigned, "nan" | "NaN" | "inf" | "Infinity")
        || unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    is_python.then(|| text.parse().ok().map(MetricValue::Float)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |found: &FoundMetric| {
            let values: Vec<String> =
                found.values.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            format!("{} {}", found.kind.as_str(), values.join(" "))
        };
        find_metrics(text.as_bytes()).iter().map(show).collect()
    }

    #[test]
    fn dictionaries_of_every_kind_are_read() {
        for (text, expected) in [
            ("{'loss': 8.5, 'epoch': 0.02}", "train loss=Float(8.5) epoch=Float(0.02)"),
            ("{'loss': '8.5', 'epoch': '1'}", "train loss=Float(8.5) epoch=Integer(1)"),
            ("{'loss': 0.0, 'grad_norm': nan}", "train loss=Float(0.0) grad_norm=Float(NaN)"),
            ("{'loss': inf, 'grad_norm': '-inf'}", "train loss=Float(inf) grad_norm=Float(-inf)"),
            ("{'loss': 1e-05}", "train loss=Float(1e-5)"),
            ("{\"loss\": 1.5, \"step\": 3}", "train loss=Float(1.5) step=Integer(3)"),
            (
                "{'eval_loss': 8.2, 'note': 'a, \\'b', 'epoch': 1}",
                "eval eval_loss=Float(8.2) epoch=Integer(1)",
            ),
            (
                "{'eval_mrpc_f1': 0.5, 'epoch': 1.0}",
                "eval eval_mrpc_f1=Float(0.5) epoch=Float(1.0)",
            ),
            (
                "{'train_runtime': 4.7, 'train_loss': 8.3}",
                "summary train_runtime=Float(4.7) train_loss=Float(8.3)",
            ),
            (
                "{'loss': np.float64(8.5), 'x': [1, {'a': ']'}], 'step': None, 'epoch': 1}",
                "train loss=Float(8.5) epoch=Integer(1)",
            ),
            (
                "{'loss': tensor(8.5, device='cuda:0'), 'epoch': 1}",
                "train loss=Float(8.5) epoch=Integer(1)",
            ),
            (
                "12:00:00 - INFO - {'loss': 2.5, 'epoch': 1}",
                "train loss=Float(2.5) epoch=Integer(1)",
            ),
            ("[rank0]: {'loss': 2.5}", "train loss=Float(2.5)"),
        ] {
            assert_eq!(shown(text), [expected], "{text}");
        }
    }

    #[test]
    fn several_on_one_line_are_read_in_order() {
        assert_eq!(
            shown("x {'a': {'loss': 1}} {'loss': 1.5, 'epoch': 1}{'eval_loss': 2} {'loss': 3}"),
            [
                "train loss=Float(1.5) epoch=Integer(1)",
                "eval eval_loss=Integer(2)",
                "train loss=Integer(3)",
            ]
        );
    }

    #[test]
    fn other_dictionaries_are_left_alone() {
        for text in [
            "Updated tokens: {'bos_token_id': 2}.",
            "Loss weights: {'task': 1.0, 'combined': 0.1}",
            "Loss weights: {'loss': 1.0}",
            "{'loss': 1.0, 'alpha': 2}",
            "{'loss': 'mse', 'epoch': 1}",
            "{'eval_steps': 10, 'eval_batch_size': 16}",
            "{'loss': 8.63",
            "{'loss': 8.63, 'epoch'",
            "{'loss': , 'epoch': 1}",
            "{loss: 1, epoch: 2}",
            "{'loss': (1, 2",
            "{'loss' 1}",
            "{'a': '\\",
            "{}",
            "{",
        ] {
            assert_eq!(shown(text), Vec::<String>::new(), "{text}");
        }
    }
}
