//! The worker that sends alerts: at most one at a time to each receiver, so none delays another.

use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::engine::Event;
use crate::host;
use crate::model::alert::{Alert, AlertOutcome, ReceiverKey};
use crate::publish::alerts::{self, Envelope};
use crate::settings::{AlertSettings, Settings};

use super::http;
use super::workers::Workers;

/// How long one message may take.
const LIMIT: Duration = Duration::from_secs(10);
/// After this without a message the client, with its list of authorities and its connections, is
/// given back.
const IDLE: Duration = Duration::from_mins(1);
/// Without a client there is nothing to give back.
const NEVER: Duration = Duration::from_hours(24 * 365);
/// Messages that wait for the worker: the decider has one on the way to each receiver at most.
const MESSAGES: usize = 64;

/// The loop's hold on the worker.
#[derive(Debug)]
pub(super) struct Alerts {
    messages: mpsc::Sender<Message>,
    /// Answers for what could not even be given to the worker.
    news: mpsc::Sender<Event>,
}

/// One alert for one receiver.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) receiver: AlertSettings,
    pub(super) alert: Alert,
    /// Whether it is given up if it is not taken now.
    pub(super) is_last: bool,
}

type Sent = (ReceiverKey, String, AlertOutcome);

impl Alerts {
    pub(super) fn start(
        workers: &mut Workers,
        settings: &Settings,
        news: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Self {
        let (messages, given) = mpsc::channel(MESSAGES);
        let root = settings.paths.root.to_string_lossy().into_owned();
        let envelope = Envelope { host: host::host_name(), root };
        workers.spawn("alerts", work(envelope, given, news.clone(), stop));
        Self { messages, news }
    }

    /// Gives a message to the worker.
    pub(super) fn send(&self, message: Message) {
        if let Err(refused) = self.messages.try_send(message) {
            let Message { receiver, alert, .. } = refused.into_inner();
            let key = receiver.address.key();
            let problem = "too many alerts are on their way".to_owned();
            let outcome = AlertOutcome::Later { problem, wait: None };
            if self.news.try_send(Event::AlertSent(key, alert.id, outcome)).is_err() {
                tracing::error!("nobody takes what became of an alert");
            }
        }
    }
}

async fn work(
    envelope: Envelope,
    mut given: mpsc::Receiver<Message>,
    news: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut client = None;
    let mut on_their_way: JoinSet<Sent> = JoinSet::new();
    loop {
        let idle = if client.is_some() { IDLE } else { NEVER };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            Some(sent) = on_their_way.join_next() => {
                let (receiver, id, outcome) = sent.context("sending an alert panicked")?;
                if news.send(Event::AlertSent(receiver, id, outcome)).await.is_err() {
                    return Ok(());
                }
            }
            message = timeout(idle, given.recv()) => match message {
                Ok(Some(message)) => {
                    let ready = match &client {
                        Some(ready) => Ok(reqwest::Client::clone(ready)),
                        None => http::client(LIMIT),
                    };
                    client = ready.as_ref().ok().cloned();
                    on_their_way.spawn(deliver(ready, envelope.clone(), message));
                }
                Ok(None) => return Ok(()),
                Err(_) => client = None,
            },
        }
    }
}

async fn deliver(
    client: anyhow::Result<reqwest::Client>,
    envelope: Envelope,
    message: Message,
) -> Sent {
    let Message { receiver, alert, is_last } = message;
    let outcome = match client {
        Ok(client) => alerts::send(&client, &receiver, &envelope, &alert).await,
        Err(error) => AlertOutcome::Later { problem: format!("{error:#}"), wait: None },
    };
    let (shown, id, title) = (&receiver.address, &alert.id, &alert.title);
    match &outcome {
        AlertOutcome::Delivered => tracing::info!(receiver = %shown, id, title, "alert delivered"),
        AlertOutcome::Later { problem, .. } if is_last => {
            tracing::error!(receiver = %shown, id, title, problem, "an alert is given up: nobody took it for a day");
        }
        AlertOutcome::Later { problem, .. } => {
            tracing::warn!(receiver = %shown, id, title, problem, "an alert is not taken; trying again");
        }
        AlertOutcome::Refused { problem } => {
            tracing::error!(receiver = %shown, id, title, problem, "an alert is refused for good");
        }
    }
    (receiver.address.key(), alert.id, outcome)
}
