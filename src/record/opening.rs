//! Why a journal cannot be opened, and the checks that come before it is touched.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema;

/// Why a journal cannot be opened. The file is left as it is in every case.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is none, or none yet (readers only; the daemon makes one).
    #[error(
        "there is no journal at `{}`: `runscribe watch` has not run for this project, or another \
         `state_dir` is configured", path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A newer runscribe made it.
    #[error(
        "the journal `{}` has version {found} and this runscribe knows versions up to {known}: \
         use the newer runscribe, or move the journal away to begin a new one", path.display()
    )]
    Newer {
        /// The journal.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// An older runscribe made it and no daemon has brought it up to date (readers only).
    #[error(
        "the journal `{}` has the older version {found}: start `runscribe watch` once, it brings \
         the journal to version {known}", path.display()
    )]
    Older {
        /// The journal.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version that is needed.
        known: i64,
    },
    /// It is damaged, or not a journal.
    #[error(
        "the journal `{}` cannot be trusted: {detail}; it was left as it is. Restore a backup, or \
         move it and its `-wal` file away to begin a new one (what the experiment log shows as \
         observed is not analyzed again)", path.display()
    )]
    Corrupt {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// SQLite's write-ahead log needs memory that processes share, which is local.
    #[error(
        "`{}` is on {kind}, and the journal needs a local file system: set `project.state_dir` to \
         a folder on a local disk", path.display()
    )]
    NetworkFileSystem {
        /// The state folder.
        path: PathBuf,
        /// Which file system it is on.
        kind: &'static str,
    },
    /// Another daemon holds it.
    #[error(
        "another runscribe{} already watches this project (lock `{}`)",
        pid.map_or_else(String::new, |pid| format!(" with process id {pid}")), path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The other one's process id, if the file tells it.
        pid: Option<u32>,
    },
    /// The operating system refuses.
    #[error("cannot open `{}`: {advice}", path.display())]
    Io {
        /// What could not be opened.
        path: PathBuf,
        /// What went wrong and what to do.
        advice: String,
        /// The refusal.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl OpenError {
    /// Returns whether only a person can mend it, so that a restart is of no use (exit code 78).
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::Corrupt { .. } | Self::NetworkFileSystem { .. })
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "permission denied; let the user that runs this have access".to_owned()
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                "the file system is read-only; set `project.state_dir` to a writable folder, or \
                 under systemd let `ReadWritePaths=` in the unit name the project's root"
                    .to_owned()
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "no space is left; free some, or set `project.state_dir` elsewhere".to_owned()
            }
            _ => source.to_string(),
        };
        Self::Io { path: path.to_owned(), advice, source: Box::new(source) }
    }

    pub(super) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let unreadable = matches!(source, rusqlite::Error::FromSqlConversionFailure(..));
        let advice = match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => return Self::corrupt(path, "it is not a database"),
            Some(ErrorCode::DatabaseCorrupt) => return Self::corrupt(path, &source.to_string()),
            _ if unreadable => return Self::corrupt(path, &source.to_string()),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                "the file or its folder is not accessible to this user".to_owned()
            }
            Some(ErrorCode::ReadOnly) => "it is not writable by this user".to_owned(),
            Some(ErrorCode::DiskFull) => "no space is left; free some".to_owned(),
            _ => source.to_string(),
        };
        Self::Io { path: path.to_owned(), advice, source: Box::new(source) }
    }

    /// Returns whether SQLite wants to roll back a transaction first and was not allowed to.
    fn is_unfinished_making(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        let error =
            source.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error);
        error.is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK)
    }

    pub(super) fn corrupt(path: &Path, detail: &str) -> Self {
        Self::Corrupt { path: path.to_owned(), detail: detail.to_owned() }
    }
}

/// Where the journal lies inside a state folder.
pub(super) fn journal_path(state_dir: &Path) -> PathBuf {
    state_dir.join("journal.db")
}

/// Names of file systems by the magic number of `statfs(2)`, those on which several hosts or a
/// user-space server stand between a write and the disk. Source: `linux/magic.h` and the file
/// systems' own headers. 9p is absent: it is how virtual machines see their host's local disk.
const NETWORK_FILE_SYSTEMS: [(u32, &str); 13] = [
    (0x0000_6969, "NFS"),
    (0x0000_517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x6573_5546, "FUSE"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x2003_0528, "OrangeFS"),
    (0x7461_636F, "OCFS2"),
];

/// Returns the name of the network file system with this magic number, if it is one.
pub(super) fn network_file_system(magic: u32) -> Option<&'static str> {
    NETWORK_FILE_SYSTEMS.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Refuses a state folder on a network file system.
pub fn check_file_system(state_dir: &Path) -> Result<(), OpenError> {
    let stat = rustix::fs::statfs(state_dir)
        .map_err(|errno| OpenError::io(state_dir, io::Error::from(errno)))?;
    // The field is signed and wider on some platforms; the magic numbers have 32 bits.
    let magic = u32::try_from(stat.f_type & 0xFFFF_FFFF).unwrap_or(0);
    match network_file_system(magic) {
        Some(kind) => Err(OpenError::NetworkFileSystem { path: state_dir.to_owned(), kind }),
        None => Ok(()),
    }
}

/// What stands at the journal's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing, or a file whose making was interrupted before anything was in it.
    Blank,
    /// A sound journal of this version.
    Version(i64),
}

/// Looks at the journal through a connection that cannot change it, so that a damaged or newer
/// one stays as it is to the last byte.
pub(super) fn inspect(path: &Path) -> Result<Standing, OpenError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Blank),
        Err(error) => return Err(OpenError::io(path, error)),
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| OpenError::sqlite(path, error))?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .map_err(|error| OpenError::sqlite(path, error))?;
    let standing = match version_of(&connection, path) {
        Err(error) if error.is_unfinished_making() => {
            roll_back(path)?;
            version_of(&connection, path)?
        }
        other => other?,
    };
    let check: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| OpenError::sqlite(path, error))?;
    if check == "ok" { Ok(standing) } else { Err(OpenError::corrupt(path, &check)) }
}

/// Takes back what a crash left of the journal's making, before its write-ahead log existed:
/// a connection that may not write cannot even look then. What was committed stays as it is.
fn roll_back(path: &Path) -> Result<(), OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
        .and_then(|connection| connection.pragma_query_value(None, "user_version", |_| Ok(())))
        .map_err(|error| OpenError::sqlite(path, error))
}

/// Reads application id and version, and refuses what this program does not know.
pub(super) fn version_of(connection: &Connection, path: &Path) -> Result<Standing, OpenError> {
    let integer = |pragma: &str| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(|error| OpenError::sqlite(path, error))
    };
    let found = integer("user_version")?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| OpenError::sqlite(path, error))?;
    if found == 0 && tables == 0 {
        return Ok(Standing::Blank);
    }
    if integer("application_id")? != i64::from(schema::APPLICATION_ID) {
        return Err(OpenError::corrupt(path, "it is a database of another program"));
    }
    let known = schema::version();
    if found > known {
        return Err(OpenError::Newer { path: path.to_owned(), found, known });
    }
    Ok(Standing::Version(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        for (magic, expected) in [
            (0x6969, Some("NFS")),
            (0xFE53_4D42, Some("SMB2")),
            (0x6573_5546, Some("FUSE")),
            (0x0BD0_0BD0, Some("Lustre")),
            (0xEF53, None),      // ext4
            (0x5846_5342, None), // xfs
            (0x9123_683E, None), // btrfs
            (0x0102_1994, None), // tmpfs
            (0x794C_7630, None), // overlayfs
            (0x0102_1997, None), // 9p
        ] {
            assert_eq!(network_file_system(magic), expected, "{magic:#x}");
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let path = PathBuf::from("/p/journal.db");
        for (error, person, phrase) in [
            (OpenError::Missing { path: path.clone() }, false, "runscribe watch"),
            (
                OpenError::Newer { path: path.clone(), found: 9, known: 1 },
                true,
                "use the newer runscribe",
            ),
            (OpenError::corrupt(&path, "it is not a database"), true, "left as it is"),
            (
                OpenError::NetworkFileSystem { path: path.clone(), kind: "NFS" },
                true,
                "project.state_dir",
            ),
            (
                OpenError::Locked { path: path.clone(), pid: Some(7) },
                false,
                "with process id 7 already watches",
            ),
            (
                OpenError::io(&path, io::Error::from(io::ErrorKind::PermissionDenied)),
                false,
                "have access",
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains(phrase), "{text}");
            assert!(text.contains("/p/"), "{text}");
            assert_eq!(error.needs_a_person(), person, "{text}");
        }
    }
}
