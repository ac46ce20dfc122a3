//! Logs on stderr, in the form that whoever reads them understands.
//!
//! Text from outside (run ids, lines of programs) may hold anything; no form lets it begin a line
//! that looks like one of ours, or steer a terminal.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::output::colors_wanted;

/// The form of logs, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For the systemd journal if stderr is connected to it, else text
    Auto,
    /// Lines for people, with time and level
    Text,
    /// One JSON object per line: time, level, target, message, fields
    Json,
    /// Lines without time, each with a priority that the systemd journal reads
    Journald,
}

/// Sends logs to stderr.
pub(super) fn start_logging(format: LogFormat, verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "info",
        (false, 1) => "debug",
        (false, _) => "trace",
    };
    let form = match format {
        LogFormat::Auto if is_journal() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        other => other,
    };
    let is_colored = form == LogFormat::Text && io::stderr().is_terminal() && colors_wanted();
    // A second start, as in tests, keeps the first one's settings.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("warn,runscribe={level}")))
        .with_writer(io::stderr)
        .with_ansi(is_colored)
        // Saying on a broken stderr that stderr is broken would panic; a journal that is started
        // anew must not end the daemon.
        .log_internal_errors(false)
        .event_format(Lines { form })
        .try_init()
        .unwrap_or_default();
}

/// Whether stderr is the connection to the journal that systemd made. Source: `systemd.exec(5)`,
/// `$JOURNAL_STREAM`: the variable is inherited also where stderr leads elsewhere.
fn is_journal() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let Ok(stat) = rustix::fs::fstat(io::stderr()) else { return false };
    stream == format!("{}:{}", stat.st_dev, stat.st_ino)
}

/// Writes events in one of the forms.
struct Lines {
    form: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        if self.form == LogFormat::Json {
            return writer.write_str(&json_line(event));
        }
        let mut text = String::new();
        context.field_format().format_fields(Writer::new(&mut text), event)?;
        let prefix = match self.form {
            LogFormat::Journald => format!("<{}>", priority(*metadata.level())),
            _ => String::new(),
        };
        let head = match self.form {
            LogFormat::Journald => String::new(),
            _ => text_head(*metadata.level(), writer.has_ansi_escapes()),
        };
        writer.write_str(&lines(&prefix, &head, &text))
    }
}

/// Returns the lines of a message: those after the first are indented, so that none can be taken
/// for the beginning of another message.
fn lines(prefix: &str, head: &str, text: &str) -> String {
    let mut written = String::with_capacity(text.len() + 64);
    for (position, line) in text.lines().enumerate() {
        let begin = if position == 0 { head } else { "    " };
        written.extend([prefix, begin]);
        for character in line.chars() {
            if character.is_control() {
                written.extend(character.escape_debug());
            } else {
                written.push(character);
            }
        }
        written.push('\n');
    }
    written
}

fn text_head(level: Level, is_colored: bool) -> String {
    let color = match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "34",
    };
    let time = time();
    if is_colored {
        format!("\x1b[2m{time}\x1b[0m \x1b[{color}m{level:>5}\x1b[0m ")
    } else {
        format!("{time} {level:>5} ")
    }
}

fn time() -> String {
    format!("{:.3}", crate::daemon::instant())
}

/// Source: `sd-daemon(3)`.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

fn json_line(event: &Event<'_>) -> String {
    let mut fields = Fields(Map::new());
    event.record(&mut fields);
    let message = fields.0.remove("message").unwrap_or_else(|| json!(""));
    let metadata = event.metadata();
    let line = json!({
        "time": time(),
        "level": metadata.level().as_str(),
        "target": metadata.target(),
        "message": message,
        "fields": fields.0,
    });
    let mut written = String::new();
    for character in line.to_string().chars() {
        if character.is_control() {
            // JSON allows these, and terminals obey some of them. Writing to a string cannot fail.
            let _written = write!(written, "\\u{:04x}", u32::from(character));
        } else {
            written.push(character);
        }
    }
    written.push('\n');
    written
}

/// The fields of an event as JSON.
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        if write!(text, "{value:?}").is_ok() {
            self.put(field, json!(text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_begins_a_line_of_ours_or_steers_a_terminal() {
        let text =
            "a run\n<3>forged\n2026-01-01T00:00:00.000Z ERROR forged\r\n\u{1b}[31mred\u{9b}0m";
        assert_eq!(
            lines("<6>", "", text),
            "<6>a run\n<6>    <3>forged\n<6>    2026-01-01T00:00:00.000Z ERROR forged\n\
             <6>    \\u{1b}[31mred\\u{9b}0m\n"
        );
        assert_eq!(lines("", "HEAD ", "one"), "HEAD one\n");
    }
}
