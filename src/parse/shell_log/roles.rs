//! Cause or effect: the role of each failure, from all that is known of the others by now.
//!
//! A launcher only reports that its child ended; a rank that loses its peers, or that its launcher
//! stops, fails because another one did.

use super::evidence::TrainingFailureClass as Class;
use super::failures::{Entry, Role, Source};

/// Decides whether a failure follows from another one of the same training.
pub(super) fn role_of(entry: &Entry, all: &[Entry]) -> Role {
    let of_others = |matches: &dyn Fn(&Entry) -> bool| {
        all.iter().any(|other| {
            other.source != Source::Metric && !std::ptr::eq(other, entry) && matches(other)
        })
    };
    let was_first = |other: &Entry| other.failure.line < entry.failure.line;
    let is_effect = match (entry.source, entry.failure.class) {
        (Source::Launcher { informative: true, .. }, Class::Killed) => {
            of_others(&|other| is_cause_in_process(other) && was_first(other))
        }
        (Source::Launcher { informative: true, .. }, _) => {
            of_others(&|other| other.source == Source::Process && was_first(other))
        }
        (Source::Launcher { informative: false, .. }, _) => of_others(&|other| {
            other.source == Source::Process || is_informative(other) || was_first(other)
        }),
        (Source::Process, Class::Nccl) => {
            let lost_a_peer = is_closed_connection(&entry.failure.text);
            of_others(&|other| {
                was_killed(other)
                    || (is_cause_in_process(other) && (lost_a_peer || was_first(other)))
            })
        }
        (Source::Process, Class::Interrupted) => {
            of_others(&|other| is_cause_in_process(other) && was_first(other))
        }
        (Source::Metric | Source::Process, _) => false,
    };
    if is_effect { Role::Cascade } else { Role::Root }
}

/// Returns whether training itself printed a cause; lost peers and signals have one elsewhere.
fn is_cause_in_process(entry: &Entry) -> bool {
    entry.source == Source::Process
        && !matches!(entry.failure.class, Class::Nccl | Class::Interrupted)
}

fn is_informative(entry: &Entry) -> bool {
    matches!(entry.source, Source::Launcher { informative: true, .. })
}

fn was_killed(entry: &Entry) -> bool {
    entry.failure.class == Class::Killed && is_informative(entry)
}

/// A rank that only saw its connection close lost a peer; a timeout may be a cause itself.
fn is_closed_connection(text: &str) -> bool {
    ["Connection closed by peer", "Connection reset by peer", "Broken pipe"]
        .iter()
        .any(|closed| text.contains(closed))
}
