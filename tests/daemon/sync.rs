//! `sync` against a real sshd on the loopback, with keys and a port of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use super::support::{LIMIT, Project, command};

const SSHD: &str = "/usr/sbin/sshd";
/// How the configuration of the test's ssh calls the host.
const HOST: &str = "box";
const REPORTS: &str = "Cache/Evaluation_reports";

/// What moves the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Rsync,
    Sftp,
}

/// Two projects, one of which is reached over ssh.
struct Hosts {
    here: Project,
    there: tempfile::TempDir,
    keys: tempfile::TempDir,
    sshd: Child,
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(self.sshd.kill());
        drop(self.sshd.wait());
    }
}

impl Hosts {
    /// Starts a server, or says why the test is skipped.
    fn start() -> Option<Self> {
        for tool in [SSHD, "/usr/bin/ssh", "/usr/bin/ssh-keygen"] {
            if !Path::new(tool).exists() {
                skipped(&format!("{tool} is not installed"));
                return None;
            }
        }
        let keys = tempfile::Builder::new().prefix("runscribe-keys-").tempdir().unwrap();
        let there = tempfile::Builder::new().prefix("runscribe there ").tempdir().unwrap();
        for name in ["host", "user", "stranger"] {
            let key = keys.path().join(name);
            let made = Command::new("/usr/bin/ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(&key)
                .status();
            assert!(made.unwrap().success());
        }
        // sshd wants it for its unprivileged half; Debian makes it when the service starts.
        drop(fs::create_dir_all("/run/sshd"));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let sshd = start_sshd(keys.path(), port);
        write_client(keys.path(), port);
        let here = Project::new();
        fs::create_dir_all(there.path().join(REPORTS)).unwrap();
        fs::create_dir_all(here.path(REPORTS)).unwrap();
        let hosts = Self { here, there, keys, sshd };
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(hosts)
    }

    fn place(&self) -> String {
        format!("{HOST}:{}", self.there.path().display())
    }

    /// Returns `sync` with these arguments, ready to be started.
    fn command(&self, transport: Transport, arguments: &[&str]) -> Command {
        let bin = self.keys.path().join("bin");
        let path = match transport {
            Transport::Rsync => format!("{}:/usr/bin:/bin", bin.display()),
            // Nothing but ssh is found there.
            Transport::Sftp => bin.display().to_string(),
        };
        let mut command = command(&["sync", &self.place()]);
        command.args(arguments).arg("--root").arg(self.here.root()).env("PATH", path);
        command
    }

    fn sync(&self, transport: Transport, arguments: &[&str]) -> Output {
        self.command(transport, arguments).output().unwrap()
    }

    /// Runs `sync` dry and then really, and returns what both printed, which has to be the same.
    fn sync_as_said(&self, transport: Transport, arguments: &[&str]) -> String {
        let before = self.everything();
        let dry = [arguments, &["--dry-run"]].concat();
        let said = text(&self.sync(transport, &dry));
        assert_eq!(self.everything(), before, "a dry run wrote something");
        let done = text(&self.sync(transport, arguments));
        let said = said.replace("nothing was written (--dry-run): ", "");
        assert_eq!(said, done);
        self.assert_tidy();
        done
    }

    fn here(&self, name: &str) -> PathBuf {
        self.here.path(REPORTS).join(name)
    }

    fn there(&self, name: &str) -> PathBuf {
        self.there.path().join(REPORTS).join(name)
    }

    fn everything(&self) -> [BTreeMap<PathBuf, Vec<u8>>; 2] {
        [tree(&self.here.root()), tree(self.there.path())]
    }

    /// Asserts that no part of a file is left.
    fn assert_tidy(&self) {
        for tree in self.everything() {
            for path in tree.keys() {
                let text = path.to_string_lossy();
                assert!(!text.contains(".runscribe-sync") && !text.contains(".part"), "{text}");
            }
        }
    }
}

fn start_sshd(keys: &Path, port: u16) -> Child {
    fs::copy(keys.join("user.pub"), keys.join("authorized_keys")).unwrap();
    let folder = keys.display();
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n\
         AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         Subsystem sftp internal-sftp\nMaxStartups 100\n"
    );
    fs::write(keys.join("sshd_config"), config).unwrap();
    let log = fs::File::create(keys.join("sshd.log")).unwrap();
    let mut command = Command::new(SSHD);
    command.args(["-D", "-e", "-f"]).arg(keys.join("sshd_config"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Writes an `ssh` that reads the test's configuration and not the user's.
fn write_client(keys: &Path, port: u16) {
    let folder = keys.display();
    let key = fs::read_to_string(keys.join("host.pub")).unwrap();
    fs::write(keys.join("known_hosts"), format!("[127.0.0.1]:{port} {key}")).unwrap();
    let host = |name: &str, key: &str, known: &str, port: u16| {
        format!(
            "Host {name}\n HostName 127.0.0.1\n Port {port}\n IdentityFile {folder}/{key}\n \
             IdentitiesOnly yes\n UserKnownHostsFile {folder}/{known}\n StrictHostKeyChecking yes\n"
        )
    };
    let config = [
        host(HOST, "user", "known_hosts", port),
        host("refused", "stranger", "known_hosts", port),
        host("unknown", "user", "none", port),
        host("away", "user", "known_hosts", 1),
    ];
    fs::write(keys.join("config"), config.concat()).unwrap();
    fs::create_dir_all(keys.join("bin")).unwrap();
    let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {folder}/config \"$@\"\n");
    fs::write(keys.join("bin/ssh"), script).unwrap();
    fs::set_permissions(keys.join("bin/ssh"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn text(output: &Output) -> String {
    let (text, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}\n{errors}");
    text.into_owned()
}

fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.insert(path.clone(), Vec::new());
                folders.push(path);
            } else {
                files.insert(path.clone(), fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Writes a file that was changed so many seconds after a day in 2025.
fn write(path: &Path, content: &str, seconds: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_173_700 + seconds);
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[expect(clippy::print_stdout, reason = "a person has to see that a test was skipped")]
fn skipped(why: &str) {
    println!("skipped: {why}");
}

fn transports() -> Vec<Transport> {
    if Path::new("/usr/bin/rsync").exists() {
        return vec![Transport::Rsync, Transport::Sftp];
    }
    skipped("rsync is not installed; only sftp is tried");
    vec![Transport::Sftp]
}

const ODD: &str = "glue mrpc's \"a b\" $(x) [*] #;żółw-summary.csv";

#[test]
fn what_is_new_comes_whatever_its_name_and_what_is_newer_here_stays() {
    for transport in transports() {
        let Some(hosts) = Hosts::start() else { return };
        write(&hosts.there(ODD), "odd\n", 0);
        write(&hosts.there("-rf sub/;x.csv"), "sub\n", 0);
        write(&hosts.there("#comment.csv"), "hash\n", 0);
        write(&hosts.there(".hidden.csv"), "hidden\n", 0);
        write(&hosts.there("older there.csv"), "old\n", 0);
        write(&hosts.here("older there.csv"), "newer\n", 60);
        write(&hosts.there("newer there.csv"), "newer\n", 60);
        write(&hosts.here("newer there.csv"), "old\n", 0);
        write(&hosts.there("same.csv"), "same\n", 60);
        write(&hosts.here("same.csv"), "same\n", 0);
        write(&hosts.here("only here.csv"), "here\n", 0);
        let printed = hosts.sync_as_said(transport, &[]);
        assert!(printed.contains("4 files downloaded, 0 uploaded, 1 the same"), "{printed}");
        let through =
            if transport == Transport::Rsync { "through rsync" } else { "through sftp (no" };
        assert!(printed.contains(through), "{printed}");
        assert!(printed.contains("left      older there.csv  new or newer here"), "{printed}");
        for (name, content) in [
            (ODD, "odd\n"),
            ("-rf sub/;x.csv", "sub\n"),
            ("#comment.csv", "hash\n"),
            ("newer there.csv", "newer\n"),
            ("older there.csv", "newer\n"),
        ] {
            assert_eq!(read(&hosts.here(name)), content, "{name}");
        }
        let times =
            [hosts.here(ODD), hosts.there(ODD)].map(|p| fs::metadata(p).unwrap().modified());
        assert_eq!(times[0].as_ref().unwrap(), times[1].as_ref().unwrap());
        assert!(!hosts.here(".hidden.csv").exists() && !hosts.there("only here.csv").exists());
        // Nothing is left to be done, and nothing is written.
        let before = hosts.everything();
        let printed = hosts.sync_as_said(transport, &[]);
        assert!(printed.contains("0 files downloaded, 0 uploaded, 5 the same"), "{printed}");
        assert_eq!(hosts.everything(), before);
    }
}

#[test]
fn what_is_new_goes_and_folders_are_made() {
    for transport in transports() {
        let Some(hosts) = Hosts::start() else { return };
        fs::remove_dir(hosts.there("")).unwrap();
        write(&hosts.here(ODD), "odd\n", 0);
        write(&hosts.here("sub/deep/x.csv"), "deep\n", 0);
        let printed = hosts.sync_as_said(transport, &["--upload"]);
        assert!(printed.contains("0 files downloaded, 2 uploaded, 0 the same"), "{printed}");
        assert_eq!(read(&hosts.there(ODD)), "odd\n");
        assert_eq!(read(&hosts.there("sub/deep/x.csv")), "deep\n");
        // A changed one replaces what was sent, be its time what it may.
        write(&hosts.here(ODD), "changed\n", 1);
        hosts.sync_as_said(transport, &["--upload"]);
        assert_eq!(read(&hosts.there(ODD)), "changed\n");
        let mode = fs::metadata(hosts.there(ODD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}

#[test]
fn both_ways_at_once_and_two_changes_are_kept_as_both() {
    for transport in transports() {
        let Some(hosts) = Hosts::start() else { return };
        write(&hosts.here("a.csv"), "from here\n", 0);
        write(&hosts.there("b.csv"), "from there\n", 0);
        write(&hosts.here("c.csv"), "base\n", 0);
        let printed = hosts.sync_as_said(transport, &["--two-way"]);
        assert!(printed.contains("1 file downloaded, 2 uploaded, 0 the same"), "{printed}");
        assert_eq!(read(&hosts.there("a.csv")), "from here\n");
        assert_eq!(read(&hosts.here("b.csv")), "from there\n");
        // One side changed: it wins, though its clock is behind. Both changed: both stay.
        write(&hosts.there("a.csv"), "mended there\n", 0);
        write(&hosts.here("c.csv"), "ours is longer\n", 120);
        write(&hosts.there("c.csv"), "theirs\n", 60);
        let printed = hosts.sync_as_said(transport, &["--two-way"]);
        assert!(printed.contains("changed on both sides since the last sync"), "{printed}");
        assert!(printed.contains("1 conflict kept as both"), "{printed}");
        assert_eq!(read(&hosts.here("a.csv")), "mended there\n");
        assert_eq!(read(&hosts.here("c.csv")), "ours is longer\n");
        assert_eq!(read(&hosts.there("c.csv")), "theirs\n");
        assert_eq!(read(&hosts.here("c.conflict-box-20251126_161600.csv")), "theirs\n");
        let names = fs::read_dir(hosts.there("")).unwrap().map(|entry| entry.unwrap().file_name());
        let copies: Vec<_> = names
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.starts_with("c.conflict-"))
            .collect();
        assert_eq!(copies.len(), 1, "{copies:?}");
        assert!(copies[0].ends_with("-20251126_161700.csv"), "{copies:?}");
        assert_eq!(read(&hosts.there(&copies[0])), "ours is longer\n");
        // It stays a conflict until somebody chooses, and copies stay where they are.
        let before = hosts.everything();
        let printed = hosts.sync_as_said(transport, &["--two-way"]);
        assert!(printed.contains("still in conflict"), "{printed}");
        assert_eq!(hosts.everything(), before);
        write(&hosts.here("c.csv"), "chosen\n", 300);
        hosts.sync_as_said(transport, &["--two-way"]);
        assert_eq!(read(&hosts.there("c.csv")), "chosen\n");
        // What was removed comes back: nothing is deleted.
        fs::remove_file(hosts.here("b.csv")).unwrap();
        hosts.sync_as_said(transport, &["--two-way"]);
        assert_eq!(read(&hosts.here("b.csv")), "from there\n");
    }
}

#[test]
fn one_time_and_two_contents_of_one_length_are_a_conflict() {
    let Some(hosts) = Hosts::start() else { return };
    write(&hosts.here("x.csv"), "1.0\n", 0);
    write(&hosts.there("x.csv"), "2.0\n", 0);
    let printed = hosts.sync_as_said(Transport::Sftp, &[]);
    assert!(printed.contains("differs, and neither is newer"), "{printed}");
    assert_eq!(read(&hosts.here("x.csv")), "1.0\n");
    assert_eq!(read(&hosts.there("x.csv")), "2.0\n");
    assert_eq!(read(&hosts.here("x.conflict-box-20251126_161500.csv")), "2.0\n");
    assert_eq!(tree(hosts.there.path()).values().filter(|text| !text.is_empty()).count(), 1);
}

/// Waits until a part of a file lies below a folder, kills the process, and returns its length.
fn kill_when_half_moved(mut child: Child, folder: &Path) -> u64 {
    let deadline = Instant::now() + LIMIT;
    let part = |path: &Path| {
        let text = path.to_string_lossy();
        text.contains(".part") || text.contains("/tree/")
    };
    let length = loop {
        let found = walk(folder).into_iter().find(|(path, length)| part(path) && *length > 1 << 20);
        if let Some((_, length)) = found {
            break length;
        }
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < deadline, "no part was seen: {ended:?}");
        std::thread::sleep(Duration::from_millis(2));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    length
}

/// Returns all files below a folder with their lengths; some may vanish meanwhile.
fn walk(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(walk(&entry.path())),
            Ok(metadata) => files.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
    files
}

#[test]
fn an_interrupted_transfer_leaves_nothing_half_and_goes_on() {
    let mut large = Vec::new();
    while large.len() < 48 << 20 {
        writeln!(large, "{},mrpc,0.{}", large.len(), large.len() % 977).unwrap();
    }
    for transport in transports() {
        for upload in [false, true] {
            let Some(hosts) = Hosts::start() else { return };
            let (from, to) = (hosts.here("large.csv"), hosts.there("large.csv"));
            let (from, to) = if upload { (from, to) } else { (to, from) };
            fs::write(&from, &large).unwrap();
            let arguments: &[&str] = if upload { &["--upload"] } else { &[] };
            let mut command = hosts.command(transport, arguments);
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let parts =
                if upload { hosts.there("") } else { hosts.here.path("Cache/runscribe/sync") };
            let length = kill_when_half_moved(child, &parts);
            assert!(!to.exists(), "{transport:?} {upload}: half a file has its final name");
            println!("{transport:?}, upload {upload}: killed with {length} bytes moved");
            let printed = text(&hosts.sync(transport, arguments));
            assert!(printed.contains("0 the same"), "{printed}");
            assert!(fs::read(&to).unwrap() == large, "{transport:?} {upload}: it differs");
            hosts.assert_tidy();
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let Some(hosts) = Hosts::start() else { return };
    let root = hosts.there.path().display().to_string();
    let nowhere = format!("{HOST}:{root}/nowhere");
    for (place, expected) in [
        ("away", "is away: check that it is up"),
        ("refused", "refuses the key: see that `ssh` works without a password"),
        ("unknown", "is not among the known hosts: connect once by hand"),
        (&nowhere, "has no folder"),
        ("-oProxyCommand=touch x", "names no host"),
    ] {
        let bin = hosts.keys.path().join("bin");
        let mut command = command(&["sync"]);
        command.arg("--root").arg(hosts.here.root()).env("PATH", bin).args(["--", place]);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(expected), "{place}: {errors}");
    }
    // A file that cannot be read does not keep the others.
    write(&hosts.there("a.csv"), "a\n", 0);
    write(&hosts.there("b.csv"), "b\n", 0);
    fs::create_dir_all(hosts.here("b.csv/in the way")).unwrap();
    let output = hosts.sync(Transport::Sftp, &[]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.contains("a folder of this name is in the way") && printed.contains("1 not done"),
        "{printed}"
    );
    assert_eq!(read(&hosts.here("a.csv")), "a\n");
}
