//! The rooms of the house in the order of the flow, and who may know whom.

/// Whether a room only decides, or acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No IO, no clock, no environment.
    Pure,
    /// Acts, and decides nothing.
    IoShell,
}

impl Kind {
    /// Returns the words that the documentation of a room's root begins with.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Pure => "Pure.",
            Self::IoShell => "IO shell.",
        }
    }
}

/// A top-level module and what it may reach.
#[derive(Debug)]
pub(crate) struct Room {
    /// Its name, which is that of its file and folder under `src/`.
    pub(crate) name: &'static str,
    /// Whether it is pure.
    pub(crate) kind: Kind,
    /// The paths below the crate's root that it may name, itself aside.
    pub(crate) may_use: &'static [&'static str],
}

const fn pure(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, kind: Kind::Pure, may_use }
}

const fn io_shell(name: &'static str, may_use: &'static [&'static str]) -> Room {
    Room { name, kind: Kind::IoShell, may_use }
}

/// What most rooms may use: the nouns, and the settings after their check.
const BASE: &[&str] = &["model", "settings"];

/// The rooms; `src/lib.rs` declares them in this order.
pub(crate) const ROOMS: &[Room] = &[
    pure("model", &[]),
    pure("settings", &["model"]),
    io_shell("watch", &["model", "settings", "parse", "recognize"]),
    pure("recognize", BASE),
    pure("schedule", BASE),
    io_shell("analyze", &["model", "settings", "parse"]),
    pure("parse", BASE),
    pure("judge", BASE),
    pure("engine", ENGINE),
    pure("document", BASE),
    io_shell("record", &["model", "settings", "document"]),
    io_shell("publish", &["model", "settings", "record::Recorded"]),
    io_shell("host", BASE),
    pure("probe", BASE),
    io_shell("systemd", BASE),
    pure("audit", &["model", "settings", "document"]),
    io_shell("git", BASE),
    io_shell("wandb", &["model", "settings", "parse"]),
    io_shell("remote", BASE),
    io_shell("daemon", DAEMON),
    io_shell("cli", CLI),
];

/// The pure stages; the nouns and the settings aside, the decider knows nothing else.
const ENGINE: &[&str] =
    &["model", "settings", "recognize", "schedule", "parse", "judge", "document", "probe", "audit"];

/// All but the commands: only here two IO stages meet.
const DAEMON: &[&str] = &[
    "model",
    "settings",
    "watch",
    "recognize",
    "schedule",
    "analyze",
    "parse",
    "judge",
    "engine",
    "document",
    "record",
    "publish",
    "host",
    "probe",
    "systemd",
    "audit",
    "git",
    "wandb",
    "remote",
];

/// The commands reach IO through the daemon only, and read what the socket says.
const CLI: &[&str] = &[
    "model",
    "settings",
    "daemon",
    "publish::wire",
    "recognize",
    "schedule",
    "parse",
    "judge",
    "document",
    "probe",
    "audit",
];

/// What `src/main.rs` may use of the library.
pub(crate) const MAIN: &[&str] = &["cli"];

/// Files of pure rooms that are IO shells; the reading of configuration files is the only one.
pub(crate) const IO_FILES_OF_PURE_ROOMS: &[&str] = &["src/settings/load.rs"];

/// Returns the room of that name.
pub(crate) fn room(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

/// Returns the name of the room that a file of `src/` belongs to: `lib` and `main` for the roots.
pub(crate) fn room_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("src/")?;
    let first = below.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

#[test]
fn every_name_in_the_table_begins_with_a_room() {
    for owner in ROOMS {
        for used in owner.may_use {
            let target = used.split("::").next().unwrap();
            assert!(room(target).is_some(), "`{}` uses `{used}`, which is no room", owner.name);
        }
    }
    let no_one_uses_the_commands = ROOMS.iter().all(|room| !room.may_use.contains(&"cli"));
    assert!(no_one_uses_the_commands);
}

#[test]
fn pure_rooms_use_pure_rooms_only() {
    for owner in ROOMS.iter().filter(|room| room.kind == Kind::Pure) {
        for used in owner.may_use {
            let kind = room(used).map(|room| room.kind);
            assert_eq!(kind, Some(Kind::Pure), "`{}` uses `{used}`", owner.name);
        }
    }
}
