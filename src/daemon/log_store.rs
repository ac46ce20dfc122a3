//! What the journal knows of shell logs, for whoever follows them.

use std::cell::OnceCell;
use std::path::PathBuf;

use crate::model::journal::KnownLog;
use crate::model::shell_log::LogKey;
use crate::record::history::Reader;
use crate::watch::tail::LogStore;

/// The journal, read through a connection of its own that is opened when it is first needed.
#[derive(Debug)]
pub(super) struct JournaledLogs {
    state: PathBuf,
    reader: OnceCell<Reader>,
}

impl JournaledLogs {
    pub(super) fn new(state: PathBuf) -> Self {
        Self { state, reader: OnceCell::new() }
    }
}

impl LogStore for JournaledLogs {
    fn recorded(&self, key: &LogKey) -> Result<Option<KnownLog>, String> {
        let reader = if let Some(reader) = self.reader.get() {
            reader
        } else {
            let opened = Reader::open(&self.state).map_err(|error| error.to_string())?;
            self.reader.get_or_init(|| opened)
        };
        reader.shell_log(key).map_err(|error| error.to_string())
    }
}
