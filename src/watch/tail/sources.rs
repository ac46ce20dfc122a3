//! Where shell logs lie: folders and globs, listed without opening anything.

use std::collections::BTreeMap;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use regex::Regex;
use walkdir::WalkDir;

use super::marks::FileId;
use crate::watch::files::FileTime;

/// More files than this are not looked at, so that a wrong folder cannot fill memory.
const MAX_FILES: usize = 20_000;
/// More names than this are not walked through.
const MAX_NAMES: usize = 200_000;
/// How deep `**` leads.
const DEEPEST: usize = 8;

/// One configured folder or glob.
#[derive(Debug)]
pub(super) struct Source {
    /// The folder without a wildcard in its path that everything lies below.
    base: PathBuf,
    /// How many levels below it.
    depth: usize,
    /// What a path below the base has to look like; `None`: a name that is usual for logs.
    pattern: Option<Regex>,
}

/// A file that may be a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) id: FileId,
    pub(super) length: u64,
    pub(super) modified: FileTime,
}

/// What lies in the sources.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Regular files by identity: one that has several names stands here once.
    pub(super) files: BTreeMap<FileId, Found>,
    /// The folders that were listed, as they were before that.
    pub(super) folders: BTreeMap<PathBuf, Stamp>,
    /// What could not be listed and what to do, by path.
    pub(super) problems: BTreeMap<PathBuf, String>,
}

/// Stands for the names in a folder: they are the same as long as it is. `None`: there is none.
pub(super) type Stamp = Option<(FileId, FileTime)>;

impl Source {
    /// Takes a setting apart: a path with `*`, `?` or `[` in it is a glob, another one a folder.
    pub(super) fn new(path: &Path) -> Self {
        let is_wild =
            |part: &Component<'_>| part.as_os_str().to_string_lossy().contains(['*', '?', '[']);
        let parts: Vec<Component<'_>> = path.components().collect();
        let fixed = parts.iter().position(is_wild).unwrap_or(parts.len());
        let (base, wild) = parts.split_at(fixed);
        let base: PathBuf = base.iter().collect();
        let wild: PathBuf = wild.iter().collect();
        let wild = wild.to_string_lossy();
        if wild.is_empty() {
            return Self { base, depth: 1, pattern: None };
        }
        let depth = if wild.contains("**") { DEEPEST } else { wild.split('/').count() };
        // What cannot be understood as a pattern is taken for a name.
        let pattern = Regex::new(&as_regex(&wild));
        let literal = || Regex::new(&format!("^{}$", regex::escape(&wild)));
        Self { base, depth, pattern: pattern.or_else(|_| literal()).ok() }
    }

    fn takes(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.base) else { return false };
        let Some(below) = below.to_str() else { return false };
        match &self.pattern {
            Some(pattern) => pattern.is_match(below),
            None => looks_like_a_log(below),
        }
    }

    fn list(&self, listing: &mut Listing) {
        if let Ok(metadata) = std::fs::metadata(&self.base)
            && metadata.is_file()
        {
            // A file that is named as if it were a folder is meant.
            listing.add(&self.base, &metadata);
            return;
        }
        listing.folders.insert(self.base.clone(), stamp(&self.base));
        let mut names = 0;
        let walk = WalkDir::new(&self.base).min_depth(1).max_depth(self.depth);
        for entry in walk {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = error.path().unwrap_or(&self.base).to_owned();
                    listing.folders.remove(&path);
                    listing.note(&path, error.into_io_error());
                    continue;
                }
            };
            names += 1;
            if names > MAX_NAMES || listing.files.len() >= MAX_FILES {
                listing.problems.insert(self.base.clone(), too_many(&self.base));
                return;
            }
            let kind = entry.file_type();
            if kind.is_dir() && entry.depth() < self.depth {
                listing.folders.insert(entry.path().to_owned(), stamp(entry.path()));
            } else if may_be_a_log(kind) && self.takes(entry.path()) {
                // The type first: a link to a pipe is never opened, and a device is no log.
                match std::fs::metadata(entry.path()) {
                    Ok(metadata) if metadata.is_file() => listing.add(entry.path(), &metadata),
                    Ok(_) => {}
                    Err(error) => listing.note(entry.path(), Some(error)),
                }
            }
        }
    }
}

/// Returns whether one of the configured folders or globs names this path.
pub(super) fn name(configured: &[PathBuf], path: &Path) -> bool {
    configured.iter().map(|source| Source::new(source)).any(|source| {
        let depth = path.strip_prefix(&source.base).map(|below| below.components().count());
        depth.is_ok_and(|depth| depth == 0 || (depth <= source.depth && source.takes(path)))
    })
}

fn may_be_a_log(kind: FileType) -> bool {
    kind.is_file() || kind.is_symlink()
}

impl Listing {
    fn add(&mut self, path: &Path, metadata: &Metadata) {
        let found = found(path, metadata);
        // Of several names the first one that is no link counts, whatever the order of listing.
        let rank = |path: &Path| (path.is_symlink(), path.to_owned());
        match self.files.get(&found.id) {
            Some(known) if rank(&known.path) <= rank(path) => {}
            _ => drop(self.files.insert(found.id, found)),
        }
    }

    /// What is not there is no problem: neither a folder nor a file need exist.
    fn note(&mut self, path: &Path, error: Option<io::Error>) {
        let Some(error) = error else { return };
        if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            self.problems.insert(path.to_owned(), problem_with(path, &error));
        }
    }
}

/// Lists all sources.
pub(super) fn list(sources: &[Source]) -> Listing {
    let mut listing = Listing::default();
    for source in sources {
        source.list(&mut listing);
    }
    listing
}

/// Returns what is to be known of one file without opening it; `None` if no regular one is there.
pub(super) fn look_at(path: &Path) -> Option<Found> {
    let metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    Some(found(path, &metadata))
}

pub(super) fn stamp(folder: &Path) -> Stamp {
    let metadata = std::fs::metadata(folder).ok()?;
    Some((id_of(&metadata), FileTime(metadata.mtime(), metadata.mtime_nsec())))
}

pub(super) fn id_of(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// Says why a log or a folder of logs cannot be read, and what to do.
pub(super) fn problem_with(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    if error.kind() == io::ErrorKind::PermissionDenied {
        format!(
            "`{path}` may not be read by this user: run runscribe as the user who trains, or \
             allow it with `setfacl -R -m u:<user>:rX` on the folder of shell logs"
        )
    } else {
        format!("`{path}` cannot be read: {error}")
    }
}

fn found(path: &Path, metadata: &Metadata) -> Found {
    Found {
        path: path.to_owned(),
        id: id_of(metadata),
        length: metadata.len(),
        modified: FileTime(metadata.mtime(), metadata.mtime_nsec()),
    }
}

fn too_many(base: &Path) -> String {
    format!(
        "`{}` holds more files than can be followed; name fewer in `project.shell_logs`",
        base.display()
    )
}

/// Whether a file in a folder of logs is one by its name: `.log`, `.out`, `.err` or `.txt`, also
/// with what rotation appends (`.1`, `-20260101`), neither hidden nor compressed.
fn looks_like_a_log(name: &str) -> bool {
    let name = without_rotation(name);
    !name.starts_with('.')
        && [".log", ".out", ".err", ".txt"].iter().any(|ending| name.ends_with(ending))
}

fn without_rotation(name: &str) -> &str {
    let mut name = name;
    while let Some((stem, number)) = name.rsplit_once(['.', '-'])
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        name = stem;
    }
    name
}

/// Writes a glob as a regular expression; what rotation appends to a name fits as well.
fn as_regex(glob: &str) -> String {
    let mut regex = String::from("^");
    let mut rest = glob.chars().peekable();
    while let Some(mark) = rest.next() {
        match mark {
            '*' if rest.peek() == Some(&'*') => {
                rest.next();
                // `**/` also stands for no folder at all.
                if rest.next_if_eq(&'/').is_some() {
                    regex.push_str("(?:.*/)?");
                } else {
                    regex.push_str(".*");
                }
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => {
                regex.push('[');
                if rest.next_if(|next| matches!(next, '!' | '^')).is_some() {
                    regex.push('^');
                }
                for inside in rest.by_ref() {
                    if matches!(inside, '\\' | '[' | '&' | '~') {
                        regex.push('\\');
                    }
                    regex.push(inside);
                    if inside == ']' {
                        break;
                    }
                }
            }
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push_str(r"(?:[.-]\d+)*$");
    regex
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(sources: &[&str], root: &Path) -> Vec<String> {
        let sources: Vec<Source> =
            sources.iter().map(|source| Source::new(&root.join(source))).collect();
        let listing = list(&sources);
        assert_eq!(listing.problems, BTreeMap::new());
        let mut names: Vec<String> = listing
            .files
            .values()
            .map(|found| found.path.strip_prefix(root).unwrap().display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_path_is_named_where_a_listing_would_find_it() {
        let configured = ["/p/logs", "/p/deep/**/*.txt", "/p/one.out"].map(PathBuf::from);
        for (path, expected) in [
            ("/p/logs/shell_a.log", true),
            ("/p/logs/shell_a.log.1", true),
            ("/p/logs/notes.md", false),
            ("/p/logs/deep/shell_a.log", false),
            ("/p/deep/er/x.txt", true),
            ("/p/deep/er/x.log", false),
            ("/p/one.out", true),
            ("/p/two.out", false),
            ("/q/logs/shell_a.log", false),
        ] {
            assert_eq!(name(&configured, Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn folders_and_globs_find_logs_and_what_rotation_made_of_them() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        std::fs::create_dir_all(root.join("logs/deep/er")).unwrap();
        for name in [
            "a.log",
            "a.log.1",
            "a.log-20260101",
            "a.log.2.gz",
            ".hidden.log",
            "slurm-77.out",
            "model.safetensors",
            "shell_x.log",
            "shell_x.log.3",
            "shell_y.txt",
            "deep/shell_z.log",
            "deep/er/shell_w.log",
        ] {
            std::fs::write(root.join("logs").join(name), name).unwrap();
        }
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("logs/pipe.log"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        std::os::unix::fs::symlink("a.log", root.join("logs/0_latest.log")).unwrap();
        std::os::unix::fs::symlink("pipe.log", root.join("logs/to_pipe.log")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("logs/broken.log")).unwrap();
        std::fs::create_dir(root.join("logs/folder.log")).unwrap();

        let folder = [
            "logs/a.log",
            "logs/a.log-20260101",
            "logs/a.log.1",
            "logs/shell_x.log",
            "logs/shell_x.log.3",
            "logs/shell_y.txt",
            "logs/slurm-77.out",
        ];
        assert_eq!(listed(&["logs"], root), folder);
        assert_eq!(listed(&["logs/shell_*.log"], root), ["logs/shell_x.log", "logs/shell_x.log.3"]);
        assert_eq!(
            listed(&["logs/shell_[!x].*", "logs/*/shell_?.log"], root),
            ["logs/deep/shell_z.log", "logs/shell_y.txt"]
        );
        assert_eq!(
            listed(&["logs/**/shell_*.log"], root),
            [
                "logs/deep/er/shell_w.log",
                "logs/deep/shell_z.log",
                "logs/shell_x.log",
                "logs/shell_x.log.3"
            ]
        );
        assert_eq!(listed(&["logs/a.log"], root), ["logs/a.log"], "a file that is named");
        assert_eq!(listed(&["absent", "absent/*.log", "logs/[.log"], root), [""; 0]);
    }

    #[test]
    fn a_folder_is_the_same_until_a_name_in_it_changes() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(stamp(&root.path().join("absent")), None);
        let before = stamp(root.path());
        assert_eq!(stamp(root.path()), before);
        std::fs::create_dir(root.path().join("logs")).unwrap();
        assert_ne!(stamp(root.path()), before);
    }
}
