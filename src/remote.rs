#![expect(
    clippy::disallowed_methods,
    reason = "IO shell: starts ssh and rsync, and reads the files that are sent"
)]
//! IO shell. Another host's folder over OpenSSH: listing it, and bringing files there and back.
//!
//! The `sftp` subsystem is spoken to directly, through the user's own `ssh` with its configuration:
//! names of any bytes, times to the second, no shell on the other side, and it is there also where
//! commands are not allowed. `rsync`, where both ends have it, moves the bulk. Whatever moves them,
//! bytes go to a staging place first, and a file gets its final name when it is whole.

pub mod folder;
pub mod local;
mod packet;
pub mod rsync;
mod session;
mod ssh;

use std::path::PathBuf;

/// Why something on the other host could not be done. Texts say what to do.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The connection cannot be made, or broke.
    #[error("{0}")]
    Connection(String),
    /// There is no such file or folder.
    #[error("there is no `{0}` on the other host")]
    NotFound(String),
    /// It is refused.
    #[error("{what}: {why}")]
    Refused {
        /// What was tried.
        what: String,
        /// Why.
        why: String,
    },
    /// A file is not any more as it was when it was listed.
    #[error("`{0}` was changed meanwhile; run it again")]
    Changed(String),
    /// A file on this host.
    #[error("`{path}`: {source}")]
    Local {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

impl RemoteError {
    fn local(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Local { path: path.display().to_string(), source }
    }

    /// Returns whether nothing more can be done over this connection.
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Connection(_))
    }
}

/// Where the other checkout is: `[user@]host[:path]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What `ssh` is given: a name of the user's own configuration, or `user@host`.
    pub login: String,
    /// The project's root there; `None`: the same path as on this host.
    pub root: Option<PathBuf>,
}

impl Place {
    /// Reads a place as `scp` writes it. An IPv6 address stands in brackets.
    ///
    /// # Errors
    /// It is no place, or would be taken for an option.
    pub fn parse(text: &str) -> Result<Self, String> {
        let from = text.rfind('@').map_or(0, |at| at + 1);
        let host = text.get(from..).unwrap_or_default();
        let colon = match host.strip_prefix('[').and_then(|rest| rest.find(']')) {
            // The bracket that opens is not part of `rest`.
            Some(end) => host.get(end + 2..).unwrap_or_default().find(':').map(|at| at + end + 2),
            None => host.find(':'),
        };
        let end = colon.map_or(text.len(), |at| from + at);
        let login = text.get(..end).unwrap_or_default().replace(['[', ']'], "");
        let root = text.get(end + 1..).filter(|root| !root.is_empty()).map(PathBuf::from);
        let host = login.rsplit('@').next().unwrap_or_default();
        let is_odd =
            |c: char| c.is_whitespace() || c.is_control() || "'\"`$\\;&|<>()*?#!,".contains(c);
        if host.is_empty() || login.starts_with(['-', '@']) || host.starts_with('-') {
            return Err(format!("`{text}` names no host: give `host` or `user@host:/path`"));
        }
        if login.contains(is_odd) {
            return Err(format!("`{login}` cannot be the name of a host"));
        }
        Ok(Self { login, root })
    }

    /// Returns the host's own name, without the user.
    pub fn host(&self) -> &str {
        self.login.rsplit('@').next().unwrap_or(&self.login)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_for_scp() {
        for (text, login, root, host) in [
            ("odin", "odin", None, "odin"),
            ("odin:", "odin", None, "odin"),
            ("k@odin:/home/k/My Project", "k@odin", Some("/home/k/My Project"), "odin"),
            ("odin:work/x:y", "odin", Some("work/x:y"), "odin"),
            ("k@[fe80::1%eth0]:/x", "k@fe80::1%eth0", Some("/x"), "fe80::1%eth0"),
            ("[::1]", "::1", None, "::1"),
        ] {
            let place = Place::parse(text).unwrap();
            let expected = Place { login: login.to_owned(), root: root.map(PathBuf::from) };
            assert_eq!((&place, place.host()), (&expected, host), "{text}");
        }
        for text in
            ["", ":", "k@", "-oProxyCommand=x", "k@-x", "@odin", "a b", "$(x)", "odin;x", ":/x"]
        {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
