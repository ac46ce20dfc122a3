//! The socket's file: bound so that a dead daemon's is replaced and a live one's is not.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use crate::settings::StatusSettings;

/// The longest path that fits into a socket address, in bytes (`sun_path` less its final zero).
const ADDRESS_BYTES: usize = 107;

/// Why the socket cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers there.
    #[error("another runscribe already serves `{}`; stop it, or set another `status.socket`", path.display())]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is not a socket has the name.
    #[error("`{}` exists and is not a socket; remove it, or set another `status.socket`", path.display())]
    NotASocket {
        /// What stands in the way.
        path: PathBuf,
    },
    /// The path cannot name a socket.
    #[error("`{}` cannot be a socket's path: it needs a folder and a file name", path.display())]
    NoFileName {
        /// The path.
        path: PathBuf,
    },
    /// Its folder is not there, and is not ours to make.
    #[error(
        "there is no folder `{}` for the socket; make it, let systemd make it \
         (`RuntimeDirectory=`), or set another `status.socket`",
        path.display()
    )]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The configured group does not exist.
    #[error(
        "there is no group `{group}` in `/etc/group`; set `status.socket_group` to a group or its number"
    )]
    UnknownGroup {
        /// Its name.
        group: String,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A bound socket. Its file is removed when this is dropped, if it is still ours.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket file.
    identity: (u64, u64),
}

/// Binds the status socket with its mode and group.
///
/// The folder is made (mode 0755) if it is missing and lies within `state_dir`. The file appears
/// under its name only when it has its final mode and group and accepts clients, and takes the
/// place of a dead daemon's socket in one step. Must run inside a tokio runtime.
///
/// Two daemons that start at the same moment are told apart by the journal's lock, not here.
pub async fn bind(settings: &StatusSettings, state_dir: &Path) -> Result<BoundSocket, BindError> {
    let path = settings.socket.as_path();
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(BindError::NoFileName { path: path.to_owned() });
    };
    let group = settings.socket_group.as_deref().map(group_number).transpose()?;
    if folder.starts_with(state_dir) {
        make_folder(folder)?;
    } else if !folder.is_dir() {
        return Err(BindError::NoFolder { path: folder.to_owned() });
    }
    refuse_if_taken(path).await?;

    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = folder.join(temporary);
    match bind_at(&temporary, settings.socket_mode, group) {
        Ok(listener) => put_in_place(listener, &temporary, path),
        Err(error) => {
            remove_quietly(&temporary);
            Err(error)
        }
    }
}

impl BoundSocket {
    /// Returns where clients find it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts one client. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for BoundSocket {
    /// Removes the file before the listener closes, so that a successor which finds the name taken
    /// finds it alive, and nobody replaces it between the look and the removal.
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            remove_quietly(&self.path);
        }
    }
}

/// Connects to the socket at `path`, however long the path is.
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = Address::of(path)?;
    UnixStream::connect(&address.path).await
}

/// A path that fits into a socket address, and the folder that must stay open for it.
struct Address {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl Address {
    /// Longer paths go through the folder's descriptor, which `/proc` names shortly.
    fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= ADDRESS_BYTES {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(parent, flags, Mode::empty())?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&folder);
        let short = PathBuf::from(format!("/proc/self/fd/{number}")).join(name);
        Ok(Self { path: short, _folder: Some(folder) })
    }
}

fn make_folder(folder: &Path) -> Result<(), BindError> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(system("create the folder", folder))
}

/// Refuses when a live daemon, or something else that must not be replaced, has the name.
async fn refuse_if_taken(path: &Path) -> Result<(), BindError> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", path)(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket { path: path.to_owned() });
    }
    match connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            warn!(socket = %path.display(), "replacing the socket of a daemon that is gone");
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full queue of waiting clients is a sign of life, too.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(BindError::AlreadyRunning { path: path.to_owned() })
        }
        Err(error) => Err(system("find out who serves", path)(error)),
        Ok(_alive) => Err(BindError::AlreadyRunning { path: path.to_owned() }),
    }
}

fn bind_at(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, BindError> {
    // A daemon that died while it started, with the process id that is now ours, left this.
    remove_quietly(path);
    let address = Address::of(path).map_err(system("open the folder of", path))?;
    let listener = UnixListener::bind(&address.path).map_err(system("bind", path))?;
    std::os::unix::fs::chown(path, None, group).map_err(system("change the group of", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(system("set the mode of", path))?;
    Ok(listener)
}

fn put_in_place(
    listener: UnixListener,
    temporary: &Path,
    path: &Path,
) -> Result<BoundSocket, BindError> {
    let identity = std::fs::symlink_metadata(temporary)
        .map(|metadata| (metadata.dev(), metadata.ino()))
        .map_err(system("look at", temporary))?;
    if let Err(error) = std::fs::rename(temporary, path) {
        remove_quietly(temporary);
        return Err(system("put into place", path)(error));
    }
    Ok(BoundSocket { listener, path: path.to_owned(), identity })
}

fn remove_quietly(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(path = %path.display(), %error, "cannot remove a socket file");
    }
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BindError {
    let path = path.to_owned();
    move |source| BindError::System { action, path, source }
}

fn group_number(group: &str) -> Result<u32, BindError> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let path = Path::new("/etc/group");
    let groups = std::fs::read(path).map_err(system("read", path))?;
    find_group(&groups, group).ok_or_else(|| BindError::UnknownGroup { group: group.to_owned() })
}

/// Finds a group's number in the form of group(5): `name:password:number:members`.
fn find_group(groups: &[u8], wanted: &str) -> Option<u32> {
    groups.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = line.split(|&byte| byte == b':');
        let found = fields.next()? == wanted.as_bytes();
        let number = std::str::from_utf8(fields.nth(1)?).ok()?;
        found.then(|| number.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::support::status_settings;

    fn file_names(folder: &Path) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn binds_with_mode_and_group_and_leaves_nothing_behind() {
        let state = tempfile::tempdir().unwrap();
        let mut settings = status_settings(state.path().join("a/b/status.sock"));
        let own_group = std::fs::metadata(state.path()).unwrap().gid();
        settings.socket_mode = 0o620;
        settings.socket_group = Some(own_group.to_string());
        let socket = bind(&settings, state.path()).await.unwrap();
        let metadata = std::fs::symlink_metadata(&settings.socket).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!((metadata.mode() & 0o7777, metadata.gid()), (0o620, own_group));
        connect(&settings.socket).await.unwrap();
        drop(socket);
        assert_eq!(file_names(settings.socket.parent().unwrap()).len(), 0);
    }

    #[tokio::test]
    async fn a_dead_daemons_socket_is_replaced() {
        let state = tempfile::tempdir().unwrap();
        let settings = status_settings(state.path().join("status.sock"));
        drop(std::os::unix::net::UnixListener::bind(&settings.socket).unwrap());
        assert!(settings.socket.exists(), "std leaves the file behind, as kill -9 does");
        let _socket = bind(&settings, state.path()).await.unwrap();
        connect(&settings.socket).await.unwrap();
        assert_eq!(file_names(state.path()), ["status.sock"]);
    }

    #[tokio::test]
    async fn a_live_daemons_socket_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let settings = status_settings(state.path().join("status.sock"));
        let first = bind(&settings, state.path()).await.unwrap();
        let refused = bind(&settings, state.path()).await.unwrap_err();
        assert!(matches!(refused, BindError::AlreadyRunning { .. }), "{refused}");
        assert_eq!(file_names(state.path()), ["status.sock"]);
        connect(first.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_replaced() {
        let state = tempfile::tempdir().unwrap();
        let settings = status_settings(state.path().join("status.sock"));
        std::fs::write(&settings.socket, "precious").unwrap();
        let refused = bind(&settings, state.path()).await.unwrap_err();
        assert!(matches!(refused, BindError::NotASocket { .. }), "{refused}");
        assert_eq!(std::fs::read_to_string(&settings.socket).unwrap(), "precious");
    }

    #[tokio::test]
    async fn only_our_own_file_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let settings = status_settings(state.path().join("status.sock"));
        let first = bind(&settings, state.path()).await.unwrap();
        // Somebody removed our file and another daemon took the name.
        std::fs::remove_file(&settings.socket).unwrap();
        let second = bind(&settings, state.path()).await.unwrap();
        drop(first);
        connect(second.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_path_longer_than_an_address_works_on_both_sides() {
        let state = tempfile::tempdir().unwrap();
        let settings = status_settings(state.path().join("d".repeat(150)).join("status.sock"));
        assert!(settings.socket.as_os_str().len() > ADDRESS_BYTES);
        let socket = bind(&settings, state.path()).await.unwrap();
        connect(&settings.socket).await.unwrap();
        let refused = bind(&settings, state.path()).await.unwrap_err();
        assert!(matches!(refused, BindError::AlreadyRunning { .. }), "{refused}");
        drop(socket);
        assert!(!settings.socket.exists());
        drop(UnixListener::bind(Address::of(&settings.socket).unwrap().path).unwrap());
        bind(&settings, state.path()).await.unwrap();
    }

    #[tokio::test]
    async fn folders_are_made_only_within_the_state_folder() {
        let outside = tempfile::tempdir().unwrap();
        let settings = status_settings(outside.path().join("missing/status.sock"));
        let refused = bind(&settings, Path::new("/state")).await.unwrap_err();
        assert!(matches!(refused, BindError::NoFolder { .. }), "{refused}");
        assert_eq!(file_names(outside.path()).len(), 0);
    }

    #[tokio::test]
    async fn an_unknown_group_is_an_error_before_anything_is_made() {
        let state = tempfile::tempdir().unwrap();
        let mut settings = status_settings(state.path().join("status.sock"));
        settings.socket_group = Some("no such group".to_owned());
        let refused = bind(&settings, state.path()).await.unwrap_err();
        assert!(matches!(refused, BindError::UnknownGroup { .. }), "{refused}");
        assert_eq!(file_names(state.path()).len(), 0);
    }

    #[test]
    fn groups_are_found_by_whole_name() {
        let groups = b"root:x:0:\nml\xff:x:5:\nml-team:x:1001:a,b\nml:x:1002:\nbroken\nbad:x:y:\n";
        for (name, number) in [
            ("root", Some(0)),
            ("ml", Some(1002)),
            ("ml-team", Some(1001)),
            ("m", None),
            ("", None),
        ] {
            assert_eq!(find_group(groups, name), number, "{name}");
        }
        for name in ["broken", "bad"] {
            assert_eq!(find_group(groups, name), None, "{name}");
        }
    }
}
