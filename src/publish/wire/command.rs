//! The wire form of commands: `{"command":"pause"}` and the others.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::command::{self as model, Order, Whom};
use crate::model::ids::{CheckpointId, RunId};

/// The names that [`Command`] knows, for a person who used another one.
const NAMES: [&str; 5] = ["pause", "resume", "analyze", "retry", "adopt"];

/// What a client may tell the daemon to do. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Start no further analysis; a running one comes to its end.
    Pause {},
    /// Start analyses again.
    Resume {},
    /// Analyze a checkpoint before all others.
    Analyze {
        /// Its folder, absolute or relative to the root; inside the training folder.
        path: String,
    },
    /// Try a checkpoint again whose analysis failed.
    Retry {
        /// Its run.
        run: String,
        /// `checkpoint-<step>` or `final`.
        checkpoint: String,
    },
    /// Watch runs that were old at the first start; either `runs` or `all`.
    Adopt {
        /// These runs.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        runs: Vec<String>,
        /// All of them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        all: bool,
    },
}

impl Command {
    /// Reads a request that has a `command`. The error is for the client.
    pub(super) fn parse(request: Value) -> Result<Self, String> {
        let name = request.get("command").and_then(Value::as_str).unwrap_or_default();
        if !NAMES.contains(&name) {
            let shown: String =
                name.chars().filter(|letter| !letter.is_control()).take(40).collect();
            return Err(format!("there is no command `{shown}`, only {}", NAMES.join(", ")));
        }
        serde_json::from_value(request).map_err(|error| format!("the command is wrong: {error}"))
    }
}

impl TryFrom<Command> for model::Command {
    type Error = String;

    fn try_from(command: Command) -> Result<Self, String> {
        Ok(Self::Order(match command {
            Command::Analyze { path } => return Ok(Self::AnalyzePath(path.into())),
            Command::Pause {} => Order::Pause,
            Command::Resume {} => Order::Resume,
            Command::Retry { run, checkpoint } => {
                let name = checkpoint.parse().map_err(|error| format!("{error}"))?;
                Order::Retry(CheckpointId { run: RunId::new(run), name })
            }
            Command::Adopt { runs, all: true } if runs.is_empty() => Order::Adopt(Whom::All),
            Command::Adopt { runs, all: false } if !runs.is_empty() => {
                Order::Adopt(Whom::Runs(runs.into_iter().map(RunId::new).collect()))
            }
            Command::Adopt { .. } => return Err("`adopt` needs either `runs` or `all`".to_owned()),
        }))
    }
}
