//! One program under supervision: how it is started, how it ends, and that nothing is left of it,
//! seen through /proc.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use runscribe::analyze::child::{ChildRun, Limits, Plan, Stop, run};
use runscribe::model::analysis::Ending;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{is_alive, wait};

/// A folder in which scripts write down process ids, one file each.
struct Pids(tempfile::TempDir);

impl Pids {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("runscribe-children-").tempdir().unwrap())
    }

    /// Returns shell text that writes the id of the process that runs it.
    fn note(&self, name: &str) -> String {
        let file = self.0.path().join(name);
        let file = file.display();
        // In one piece, so that nobody reads half a number. `$$` would be the outer shell's.
        format!("(read me rest </proc/self/stat; echo $me) >{file}.new; mv {file}.new {file}")
    }

    /// Returns shell text that writes the id of the shell itself.
    fn note_shell(&self, name: &str) -> String {
        let file = self.0.path().join(name);
        let file = file.display();
        format!("echo $$ >{file}.new; mv {file}.new {file}")
    }

    fn read(&self, name: &str) -> i32 {
        let path = self.0.path().join(name);
        wait(&format!("a process to write down `{name}`"), || path.exists());
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    }
}

fn plan(script: &str) -> Plan {
    Plan {
        supervisor: PathBuf::from(env!("CARGO_BIN_EXE_runscribe")),
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        working_directory: PathBuf::from("/"),
        limits: Limits {
            timeout: Duration::from_mins(1),
            kill_grace: Duration::from_millis(300),
            nice: 0,
            open_files: None,
        },
        output: None,
    }
}

async fn ran(plan: Plan) -> ChildRun {
    run(plan, &Stop::default()).await.unwrap()
}

/// Starts a run beside the test, to act on it while it lasts.
fn start(plan: Plan) -> (Stop, tokio::task::JoinHandle<std::io::Result<ChildRun>>) {
    let stop = Stop::default();
    let own = stop.clone();
    (stop, tokio::spawn(async move { run(plan, &own).await }))
}

fn gone(pid: i32) {
    wait(&format!("process {pid} to end"), || !is_alive(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_programs_own_ending_and_both_streams_arrive() {
    for (script, ending) in [
        ("echo out; echo err >&2; exit 3", Ending::Exit(3)),
        ("echo out; echo err >&2; exit 255", Ending::Exit(255)),
        ("echo out; echo err >&2; kill -SEGV $$", Ending::Signal(11)),
        ("echo out; echo err >&2; kill -KILL $$", Ending::Signal(9)),
        ("echo out; echo err >&2", Ending::Exit(0)),
    ] {
        let ran = ran(plan(script)).await;
        assert_eq!(ran.ending, ending, "{script}");
        assert_eq!(ran.stdout.to_bytes(), b"out\n");
        assert_eq!(ran.stderr.to_bytes(), b"err\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_is_what_was_planned_and_standard_input_is_empty() {
    let ran = ran(plan("cat; env")).await;
    let text = String::from_utf8(ran.stdout.to_bytes()).unwrap();
    let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
    // The shell itself adds PWD and what goes with it.
    assert!(names.contains(&"PATH"), "{text}");
    assert!(names.iter().all(|name| ["PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_of_the_daemon_or_of_its_supervisor_is_open_in_the_program() {
    // Whatever started this test may have handed files on, which come from outside in a service too.
    let inherited = open_files(std::process::Command::new("/bin/sh"));
    let ran = ran(plan(LIST_FILES)).await;
    let text = String::from_utf8(ran.stdout.to_bytes()).unwrap();
    assert_eq!(files_in(&text), inherited);
}

const LIST_FILES: &str = "for file in /proc/$$/fd/*; do echo ${file##*/}; done";

fn open_files(mut shell: std::process::Command) -> Vec<u32> {
    let output = shell.args(["-c", LIST_FILES]).stdin(Stdio::null()).output().unwrap();
    files_in(&String::from_utf8(output.stdout).unwrap())
}

fn files_in(text: &str) -> Vec<u32> {
    let mut files: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    files.sort_unstable();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_started_says_why() {
    for (program, kind) in [
        ("/no/such/program", std::io::ErrorKind::NotFound),
        ("/etc/passwd", std::io::ErrorKind::PermissionDenied),
    ] {
        let plan = Plan { argv: vec![program.to_owned()], ..plan("") };
        let error = run(plan, &Stop::default()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{program}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ignores_term_is_killed_after_the_grace_time() {
    let pids = Pids::new();
    let script = format!("trap '' TERM; {}; while :; do sleep 60; done", pids.note_shell("own"));
    let mut plan = plan(&script);
    plan.limits.timeout = Duration::from_millis(300);
    let ran = ran(plan).await;
    assert_eq!(ran.ending, Ending::Deadline);
    assert!(ran.elapsed < Duration::from_secs(5), "{:?}", ran.elapsed);
    assert!(!is_alive(pids.read("own")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gentle_stop_lets_the_program_clean_up() {
    let pids = Pids::new();
    let cleaned = pids.0.path().join("cleaned");
    let script = format!(
        "trap 'touch {}; exit 7' TERM; {}; while :; do sleep 0.05; done",
        cleaned.display(),
        pids.note_shell("own")
    );
    let mut plan = plan(&script);
    plan.limits.kill_grace = Duration::from_mins(1);
    let (stop, running) = start(plan);
    pids.read("own");
    stop.gently.cancel();
    assert_eq!(running.await.unwrap().unwrap().ending, Ending::Exit(7));
    assert!(cleaned.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_once_waits_for_no_grace_time() {
    let pids = Pids::new();
    let script = format!("trap '' TERM; {}; while :; do sleep 60; done", pids.note_shell("own"));
    let mut plan = plan(&script);
    plan.limits.kill_grace = Duration::from_mins(10);
    let (stop, running) = start(plan);
    let own = pids.read("own");
    stop.gently.cancel();
    stop.at_once.cancel();
    assert_eq!(running.await.unwrap().unwrap().ending, Ending::Signal(9));
    assert!(!is_alive(own));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_run_kills_everything() {
    let pids = Pids::new();
    let script = format!(
        "trap '' TERM; (trap '' TERM; {}; sleep 60) & {}; wait",
        pids.note("below"),
        pids.note_shell("own")
    );
    let (_stop, running) = start(plan(&script));
    let (own, below) = (pids.read("own"), pids.read("below"));
    running.abort();
    assert!(running.await.is_err());
    gone(own);
    gone(below);
}

/// A daemon of the program's own: a session of its own, its parent gone, no pipe held, TERM
/// ignored.
fn daemonized(pids: &Pids, name: &str) -> String {
    let inner = format!("trap \"\" TERM HUP; {}; exec sleep 60", pids.note_shell(name));
    format!("(setsid sh -c '{inner}' </dev/null >/dev/null 2>&1 &) &")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_program_left_behind_is_ended_wherever_it_went() {
    let pids = Pids::new();
    let script = format!(
        "sleep 60 & echo $! >{0}/plain; {1} while [ ! -e {0}/away ]; do sleep 0.02; done; exit 5",
        pids.0.path().display(),
        daemonized(&pids, "away"),
    );
    let ran = ran(plan(&script)).await;
    assert_eq!(ran.ending, Ending::Exit(5));
    assert!(!is_alive(pids.read("plain")));
    assert!(!is_alive(pids.read("away")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_program_left_behind_may_end_by_itself() {
    let pids = Pids::new();
    let tidied = pids.0.path().join("tidied");
    // As Python's resource tracker does: it cleans up a moment after its parent has ended.
    let script = format!("(sleep 0.05; touch {}) & exit 0", tidied.display());
    let ran = ran(plan(&script)).await;
    assert_eq!(ran.ending, Ending::Exit(0));
    assert!(tidied.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_reaches_what_called_setsid() {
    let pids = Pids::new();
    let script = format!("{} {}; sleep 60", daemonized(&pids, "away"), pids.note_shell("own"));
    let mut plan = plan(&script);
    plan.limits.timeout = Duration::from_secs(1);
    let ran = ran(plan).await;
    assert_eq!(ran.ending, Ending::Deadline);
    assert!(!is_alive(pids.read("own")));
    assert!(!is_alive(pids.read("away")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_processes_that_ignore_term_are_killed_together() {
    let pids = Pids::new();
    let all = pids.0.path().join("all");
    // Each end wakes the supervisor; it once doubled its pause at each of them, without a bound.
    let script = format!(
        "trap '' TERM; for n in $(seq 200); do sleep 60 & echo $! >>{0}.new; done; mv {0}.new {0}; wait",
        all.display()
    );
    let (stop, running) = start(plan(&script));
    wait("all processes to be there", || all.exists());
    stop.gently.cancel();
    assert_eq!(running.await.unwrap().unwrap().ending, Ending::Signal(9));
    let list = std::fs::read_to_string(all).unwrap();
    let alive: Vec<i32> =
        list.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| is_alive(*pid)).collect();
    assert_eq!((list.lines().count(), alive), (200, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_supervisor_takes_the_program_with_it() {
    let pids = Pids::new();
    let script = format!("trap '' TERM; {}; while :; do sleep 60; done", pids.note_shell("own"));
    let (_stop, running) = start(plan(&script));
    let own = pids.read("own");
    let supervisor = Pid::from_raw(field(own, 4)).unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    assert_eq!(running.await.unwrap().unwrap().ending, Ending::Signal(9));
    gone(own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_hangs_does_not_hold_the_queue() {
    let pids = Pids::new();
    let script = format!("{} {}; sleep 60", daemonized(&pids, "away"), pids.note_shell("own"));
    let (stop, running) = start(plan(&script));
    let (own, away) = (pids.read("own"), pids.read("away"));
    let supervisor = field(own, 4);
    kill_process(Pid::from_raw(supervisor).unwrap(), Signal::STOP).unwrap();
    stop.at_once.cancel();
    assert_eq!(running.await.unwrap().unwrap().ending, Ending::Signal(9));
    gone(own);
    gone(away);
    gone(supervisor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_that_is_asked_to_end_ends_the_tree_first() {
    let pids = Pids::new();
    let script = format!("{}; sleep 60", pids.note_shell("own"));
    let (_stop, running) = start(plan(&script));
    let own = pids.read("own");
    kill_process(Pid::from_raw(field(own, 4)).unwrap(), Signal::TERM).unwrap();
    assert_eq!(running.await.unwrap().unwrap().ending, Ending::Signal(15));
    gone(own);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_comes_last_and_its_supervisor_does_not() {
    let pids = Pids::new();
    let script = format!("ulimit -Sn; {}; sleep 60", pids.note_shell("own"));
    let mut plan = plan(&script);
    plan.limits.nice = 10;
    plan.limits.open_files = Some(321);
    let (stop, running) = start(plan);
    let own = pids.read("own");
    let supervisor = field(own, 4);
    let oom = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    // Niceness, and the policy, where 5 is SCHED_IDLE and 0 the ordinary one.
    wait("the program to be idle", || (field(own, 19), field(own, 41)) == (10, 5));
    assert_eq!((field(supervisor, 19), field(supervisor, 41)), (nice_of_this_test(), 0));
    assert_eq!(oom(own).trim(), "1000");
    wait("the supervisor's own score", || oom(supervisor) == oom(std::process::id().cast_signed()));
    // A session of its own, with the supervisor as its leader.
    assert_eq!(field(own, 6), supervisor);
    let memory = resident_kilobytes(supervisor);
    assert!(memory < 24 << 10, "a supervisor has {memory} kB");
    stop.gently.cancel();
    let ran = running.await.unwrap().unwrap();
    assert_eq!(ran.stdout.to_bytes(), b"321\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_niceness_of_zero_priorities_are_left_alone() {
    let pids = Pids::new();
    let plan = plan(&format!("{}; sleep 60", pids.note_shell("own")));
    let (stop, running) = start(plan);
    assert_eq!(field(pids.read("own"), 41), 0);
    stop.gently.cancel();
    running.await.unwrap().unwrap();
}

fn nice_of_this_test() -> i32 {
    field(std::process::id().cast_signed(), 19)
}

/// Returns a number of `/proc/<pid>/stat`, counted from 1 as its manual page does.
fn field(pid: i32, number: usize) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_ascii_whitespace().nth(number - 3).unwrap().parse().unwrap()
}

fn resident_kilobytes(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
