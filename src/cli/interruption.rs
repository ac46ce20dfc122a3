//! Signals by which somebody wants a command in the foreground to end.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when somebody wants the command to end, with the signal's name. Cancel-safe: a signal that
/// comes between two calls is seen by neither, and the next one is.
pub(super) async fn interrupted() -> &'static str {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
        signal(SignalKind::quit()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup), Ok(mut quit)) = signals else {
        return std::future::pending().await;
    };
    // All receivers are cancel-safe.
    tokio::select! {
        _ = terminate.recv() => "TERM",
        _ = interrupt.recv() => "Ctrl-C",
        _ = hangup.recv() => "HUP",
        _ = quit.recv() => "QUIT",
    }
}
