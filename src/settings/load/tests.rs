//! Loading from real files in a folder of its own.

use std::fs;
use std::time::Duration;

use expect_test::expect;
use tempfile::TempDir;

use super::*;
use crate::settings::render_effective;

/// A host of its own: `etc/config.toml`, a project in `home/project` and a current folder in it.
struct Host {
    folder: TempDir,
    sources: Sources,
}

impl Host {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let base = folder.path().canonicalize().unwrap();
        let current_dir = base.join("home/project/src/deep");
        fs::create_dir_all(&current_dir).unwrap();
        let sources = Sources {
            system_file: base.join("etc/config.toml"),
            root: None,
            config: None,
            socket: None,
            environment: Vec::new(),
            current_dir,
        };
        Self { folder, sources }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn set_variable(&mut self, name: &str, value: &str) {
        self.sources.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Returns the problems' text with this host's folder as `HOST`.
    fn problems(&self) -> String {
        let problems = load(&self.sources).map(|loaded| loaded.settings).unwrap_err();
        self.without_folder(&problems.to_string())
    }

    fn without_folder(&self, text: &str) -> String {
        text.replace(&self.path("").to_string_lossy().into_owned(), "HOST/")
    }

    fn root(&self) -> String {
        let loaded = load(&self.sources).unwrap();
        let origin = loaded.effective.iter().find(|value| value.key == "project.root").unwrap();
        let root = loaded.settings.paths.root.display().to_string();
        self.without_folder(&format!("{root} ({})", origin.origin))
    }
}

#[test]
fn without_any_configuration_the_defaults_hold() {
    let host = Host::new();
    let loaded = load(&host.sources).unwrap();
    let defaults = crate::settings::defaults(&host.sources.current_dir);
    assert_eq!(format!("{:?}", loaded.settings), format!("{defaults:?}"));
    assert_eq!(host.root(), "HOST/home/project/src/deep (the current folder)");
}

#[test]
fn each_layer_wins_over_those_before_it() {
    let mut host = Host::new();
    host.sources.config = Some("../extra.toml".into());
    host.write(
        "etc/config.toml",
        "[watch]\nreconcile = \"1s\"\nsettle = \"1s\"\nstuck_after = \"1s\"\nbackend = \"poll\"",
    )
    .write(
        "home/project/runscribe.toml",
        "[watch]\nreconcile = \"2s\"\nsettle = \"2s\"\nstuck_after = \"2s\"",
    )
    .write("home/project/src/extra.toml", "[watch]\nreconcile = \"3s\"\nsettle = \"3s\"");
    host.set_variable("RUNSCRIBE__WATCH__RECONCILE", "4s");
    let loaded = load(&host.sources).unwrap();
    let watch = &loaded.settings.watch;
    let seconds = [watch.stuck_after, watch.settle, watch.reconcile];
    assert_eq!(seconds, [2, 3, 4].map(Duration::from_secs));
    let lines = loaded.effective.iter().filter(|value| value.key.starts_with("watch."));
    let lines: Vec<String> =
        lines.map(|line| format!("{} = {}  # {}\n", line.key, line.value, line.origin)).collect();
    expect![[r#"
        watch.reconcile = "4s"  # environment RUNSCRIBE__WATCH__RECONCILE
        watch.backend = "poll"  # HOST/etc/config.toml
        watch.settle = "3s"  # HOST/home/project/src/deep/../extra.toml
        watch.stuck_after = "2s"  # HOST/home/project/runscribe.toml
    "#]]
    .assert_eq(&host.without_folder(&lines.concat()));
}

#[test]
fn the_problems_of_all_layers_are_reported_at_once() {
    let mut host = Host::new();
    host.sources.config = Some(host.path("extra.toml"));
    host.sources.root = Some("../nowhere".into());
    host.write("etc/config.toml", "[watch]\nsetle = \"1s\"\n[analysis]\nnice = -1\n")
        .write("extra.toml", "[watch\nsettle = \"1s\"\n");
    host.set_variable("RUNSCRIBE__LOG__OBSERVATION", "true");
    expect![[r"
        5 problems in the configuration:
          --root: `project.root`: the root `HOST/home/project/src/deep/../nowhere` does not exist
          HOST/etc/config.toml:2: `watch.setle`: unknown key; did you mean `settle`?
          HOST/etc/config.toml:4: `analysis.nice`: is -1 and must be at least 0
          HOST/extra.toml:1:7: is not TOML: unclosed table, expected `]`
          environment RUNSCRIBE__LOG__OBSERVATION: `log.observation`: unknown key; did you mean `RUNSCRIBE__LOG__OBSERVATIONS`?
        correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]].assert_eq(&host.problems());

    host.sources.root = None;
    host.write(
        "home/project/runscribe.toml",
        "[project]\nroot = \"/x\"\n[log]\nfailure_notes = 1\n",
    );
    expect![[r"
        6 problems in the configuration:
          HOST/etc/config.toml:2: `watch.setle`: unknown key; did you mean `settle`?
          HOST/etc/config.toml:4: `analysis.nice`: is -1 and must be at least 0
          HOST/home/project/runscribe.toml:2: `project.root`: a project cannot name its own root; only `/etc/runscribe/config.toml` and the file of `--config` can, or use `--root`
          HOST/home/project/runscribe.toml:4: `log.failure_notes`: expected `true` or `false`, found the number 1
          HOST/extra.toml:1:7: is not TOML: unclosed table, expected `]`
          environment RUNSCRIBE__LOG__OBSERVATION: `log.observation`: unknown key; did you mean `RUNSCRIBE__LOG__OBSERVATIONS`?
        correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]].assert_eq(&host.problems());
}

#[test]
fn files_that_cannot_be_used_are_problems() {
    let mut host = Host::new();
    host.sources.config = Some("missing.toml".into());
    fs::create_dir_all(host.path("etc/config.toml")).unwrap();
    host.write("home/project/runscribe.toml", b"machine = \"\xff\"");
    expect![[r"
        3 problems in the configuration:
          HOST/etc/config.toml: is not a file
          HOST/home/project/runscribe.toml: is not UTF-8 text
          HOST/home/project/src/deep/missing.toml: does not exist
        correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]].assert_eq(&host.problems());

    host.sources.config = Some(host.path("home"));
    host.sources.system_file = host.path("etc/large.toml");
    host.write("etc/large.toml", vec![b'#'; usize::try_from(LARGEST_FILE).unwrap() + 1]);
    expect![[r"
        3 problems in the configuration:
          HOST/etc/large.toml: is larger than 1 MiB, which no configuration is
          HOST/home/project/runscribe.toml: is not UTF-8 text
          HOST/home: cannot be read: Is a directory (os error 21)
        correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]].assert_eq(&host.problems());
}

#[test]
fn the_root_is_the_nearest_folder_that_looks_like_one() {
    let host = Host::new();
    fs::create_dir_all(host.path("home/Cache/Training")).unwrap();
    assert_eq!(host.root(), "HOST/home (found: it holds `Cache/Training`)");
    host.write("home/project/runscribe.toml", "");
    assert_eq!(host.root(), "HOST/home/project (found: it holds `runscribe.toml`)");
    fs::create_dir_all(host.path("home/project/src/runs")).unwrap();
    host.write("etc/config.toml", "[project]\ntraining_dir = \"runs\"");
    assert_eq!(host.root(), "HOST/home/project/src (found: it holds `runs`)");
    fs::create_dir_all(host.path("elsewhere")).unwrap();
    let elsewhere = host.path("elsewhere");
    host.write(
        "etc/config.toml",
        format!(
            "[project]
training_dir = '{}'",
            elsewhere.display()
        ),
    );
    assert_eq!(host.root(), "HOST/home/project (found: it holds `runscribe.toml`)");
}

#[test]
fn a_named_root_wins_over_a_found_one_and_the_command_line_over_all() {
    let mut host = Host::new();
    for folder in ["etc/one", "two", "home/project/src/three", "home/project/Cache/Training"] {
        fs::create_dir_all(host.path(folder)).unwrap();
    }
    host.write("etc/config.toml", "[project]\nroot = \"one\"");
    assert_eq!(host.root(), "HOST/etc/one (HOST/etc/config.toml)");
    host.write("extra.toml", format!("[project]\nroot = '{}'", host.path("two").display()));
    host.sources.config = Some(host.path("extra.toml"));
    assert_eq!(host.root(), "HOST/two (HOST/extra.toml)");
    host.sources.root = Some("../three".into());
    assert_eq!(host.root(), "HOST/home/project/src/three (--root)");
    host.write("home/project/src/three/runscribe.toml", "[project]\nmachine = \"three\"");
    assert_eq!(load(&host.sources).unwrap().settings.machine.as_deref(), Some("three"));
}

#[test]
fn links_on_the_way_to_the_root_are_resolved() {
    let mut host = Host::new();
    std::os::unix::fs::symlink(host.path("home/project"), host.path("link")).unwrap();
    host.sources.root = Some(host.path("link/src/.."));
    assert_eq!(host.root(), "HOST/home/project (--root)");
}

#[test]
fn a_root_that_is_no_folder_is_refused() {
    let mut host = Host::new();
    host.write("file", "");
    host.sources.root = Some(host.path("file"));
    expect![[r"
        1 problem in the configuration:
          --root: `project.root`: the root `HOST/file` is not a folder
        correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]].assert_eq(&host.problems());
    host.sources.root = None;
    host.write("etc/config.toml", "[project]\nroot = \"gone\"");
    expect![[r"
        1 problem in the configuration:
          HOST/etc/config.toml: `project.root`: the root `HOST/etc/gone` does not exist
        correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]].assert_eq(&host.problems());
}

#[test]
fn the_projects_own_file_named_with_config_is_read_once() {
    let mut host = Host::new();
    host.write("home/project/runscribe.toml", "[project]\nroot = \"..\"\n[watch]\nsetle = \"1s\"");
    host.sources.config = Some("../../runscribe.toml".into());
    let problems = load(&host.sources).unwrap_err();
    assert_eq!(problems.0.len(), 1, "{problems}");
    host.write("home/project/runscribe.toml", "[project]\nroot = \".\"");
    // The text of the origin is the path as it was given.
    assert!(host.root().starts_with("HOST/home/project ("), "{}", host.root());
}

#[test]
fn the_socket_is_where_the_nearest_of_four_says() {
    let mut host = Host::new();
    fs::create_dir_all(host.path("home/project/Cache/Training")).unwrap();
    let check = |host: &Host, socket: &str, origin: &str| {
        let loaded = load(&host.sources).unwrap();
        let shown = loaded.effective.iter().find(|value| value.key == "status.socket").unwrap();
        assert_eq!(host.without_folder(&loaded.settings.status.socket.to_string_lossy()), socket);
        assert_eq!(host.without_folder(&shown.origin), origin);
    };
    check(&host, "HOST/home/project/Cache/runscribe/status.sock", "default");
    host.set_variable("RUNTIME_DIRECTORY", "relative");
    check(&host, "HOST/home/project/Cache/runscribe/status.sock", "default");
    host.set_variable("RUNTIME_DIRECTORY", "/run/one:/run/two");
    check(&host, "/run/one/status.sock", "environment RUNTIME_DIRECTORY");
    host.write("etc/config.toml", "[status]\nsocket = \"a/b.sock\"");
    check(&host, "HOST/home/project/a/b.sock", "HOST/etc/config.toml");
    host.sources.socket = Some("c.sock".into());
    check(&host, "HOST/home/project/src/deep/c.sock", "--socket");
}

#[test]
fn shown_settings_can_be_loaded_as_a_file() {
    let mut host = Host::new();
    fs::create_dir_all(host.path("home/project/Cache/Training")).unwrap();
    host.set_variable("RUNTIME_DIRECTORY", "/run/one");
    host.set_variable("RUNSCRIBE__ANALYSIS__ENV__Mixed_Case", "kept");
    host.write("etc/config.toml", "[[gates]]\nname = \"extra\"\nmeasurement = \"x\"\nmax = 1");
    let loaded = load(&host.sources).unwrap();
    assert_eq!(loaded.settings.analysis.env.keys().collect::<Vec<_>>(), ["Mixed_Case"]);
    host.write("shown.toml", render_effective(&loaded));
    let again = Sources {
        system_file: host.path("none"),
        config: Some(host.path("shown.toml")),
        environment: Vec::new(),
        current_dir: host.path(""),
        ..host.sources.clone()
    };
    let again = load(&again).unwrap();
    assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings));
}
