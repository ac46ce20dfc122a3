//! What training does: logs and runs, states, failures and their notes.

use super::*;
use crate::model::host_evidence::{KernelFinding, KernelHappening};
use crate::model::shell_log::LogMetricKind;
use crate::model::training::{TrainerMetric, TrainingState};

const LOG: &str = "Cache/logs/shell_diffusion_20261123_063745.log";
const NAMELESS: &str = "Cache/logs/shell_tsdae_posonly_20261123_063745.log";

/// A log that names the run and then says this.
fn named(text: &str) -> String {
    format!("Output directory: /project/Cache/Training/{RUN}\n{text}")
}

fn bar(step: u64, total: u64) -> String {
    format!("\r 10%|█         | {step}/{total} [00:{step:02}<01:00,  1.00it/s]")
}

fn loss(value: &str) -> String {
    format!("\n{{'loss': {value}, 'grad_norm': 1.5, 'epoch': 0.02}}\n")
}

impl Play {
    fn caught_up(&mut self) {
        self.event(Event::ShellLogsRead);
    }

    /// The daemon dies, starts again, and has read all logs.
    fn restart_and_read(&mut self) {
        self.restart();
        self.caught_up();
    }

    /// Returns state and evidence of a run as the snapshot shows them.
    fn state(&self, run: &str) -> (String, String) {
        let status = snapshot(&self.world, self.now);
        let run = status.runs.iter().find(|one| one.run.as_str() == run);
        run.map(|run| (run.state.to_string(), run.evidence.to_string())).unwrap_or_default()
    }

    fn states(&self) -> Vec<String> {
        let state = |event: &Happening| match event {
            Happening::RunState { state, .. } => Some(state.clone()),
            _ => None,
        };
        self.journal.events.iter().filter_map(state).collect()
    }

    fn failures(&self) -> Vec<(String, Option<u64>)> {
        let failure = |event: &Happening| match event {
            Happening::TrainingFailure { failure, line, .. } => Some((failure.clone(), *line)),
            _ => None,
        };
        self.journal.events.iter().filter_map(failure).collect()
    }

    fn written_by(&mut self, log: &str, pids: Option<Vec<u32>>) {
        self.event(Event::LogWriters(vec![LogWriters { log: LogKey::new(log), pids }]));
    }

    fn minutes(&mut self, minutes: u64) {
        for _ in 0..minutes {
            self.later(60);
        }
    }
}

#[test]
fn a_run_is_followed_from_its_log_through_its_checkpoints_to_its_end() {
    let mut play = Play::new();
    play.caught_up();
    let mut text = named(&bar(2, 40));
    play.log(LOG, &text);
    assert_eq!(play.state(RUN).0, "training");
    assert!(play.journal.memory.runs.is_empty() && play.journal.documents.is_empty());
    text += &(loss("8.6") + &bar(20, 40));
    play.later(30);
    play.log(LOG, &text);
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    let run = snapshot(&play.world, play.now).runs[0].clone();
    assert_eq!((run.step, run.total_steps), (Some(20), Some(40)));
    assert_eq!(run.shell_log.as_deref(), Some(LOG));
    assert_eq!(run.recent_metrics[0].line, Some(3));
    text += "\n{'train_runtime': 4.7, 'train_steps_per_second': 8.414, 'train_loss': 8.36}\n";
    play.log(LOG, &text);
    assert_eq!(play.states(), ["training", "complete"]);
    let speed = play.journal.documents.iter().any(|edit| {
        matches!(edit, DocumentEdit::RunRow { fills, .. } if fills.iter().any(|fill| fill.value == "8.41"))
    });
    assert!(speed, "{:?}", play.journal.documents);
    assert!(snapshot(&play.world, play.now).runs[0].eta.is_none());
    play.restart_and_read();
    play.minutes(30);
    assert_eq!(play.states(), ["training", "complete"], "announced once");
}

#[test]
fn the_metrics_of_runs_without_a_log_are_shown_of_the_newest_ones() {
    let mut play = Play::new();
    play.caught_up();
    let names: Vec<String> =
        (0..70).map(|number| format!("diffusion_H64L2C128D2_20261123_0638{number:02}")).collect();
    for name in &names {
        play.later(60);
        play.show(name, &[("checkpoint-20", complete(name))]);
        let values = vec![("loss".to_owned(), 8.5)];
        let metric = TrainerMetric { step: 20, kind: LogMetricKind::Train, values };
        let found = FoundFacts { history: vec![metric], ..FoundFacts::default() };
        play.event(Event::RunFacts(RunId::new(name.as_str()), found));
    }
    let status = snapshot(&play.world, play.now);
    let with_metrics = status.runs.iter().filter(|run| !run.recent_metrics.is_empty());
    assert_eq!(with_metrics.count(), 64);
    let newest = status.runs.iter().find(|run| run.run.as_str() == names[69]).unwrap();
    assert_eq!(newest.recent_metrics[0].step, Some(20));
}

#[test]
fn what_no_file_gives_is_asked_of_wandb_and_never_replaces_what_one_gives() {
    let mut play = Play::new();
    play.caught_up();
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    let run = RunId::new(RUN);
    let facts =
        |url: Option<&str>, final_loss| WandbFacts { url: url.map(str::to_owned), final_loss };
    let found =
        |wandb| Event::RunFacts(RunId::new(RUN), FoundFacts { wandb, ..FoundFacts::default() });
    let filled = |play: &Play| {
        let fills = play.journal.documents.iter().filter_map(|edit| match edit {
            DocumentEdit::RunRow { fills, .. } => Some(fills.iter().map(|fill| fill.value.clone())),
            _ => None,
        });
        fills.flatten().collect::<Vec<String>>()
    };
    play.event(found(facts(None, None)));
    assert_eq!(play.asked_wandb, std::slice::from_ref(&run));
    let page = "https://wandb.ai/e/p/runs/a1";
    play.event(Event::WandbRun(run.clone(), facts(Some(page), Some(1.4331))));
    let cells = filled(&play);
    assert!(
        cells.contains(&format!("[link]({page})")) && cells.contains(&"1.433".to_owned()),
        "{cells:?}"
    );
    // The page is known now, and the log has what is known of the loss.
    play.log(LOG, &named(&(loss("8.6") + &bar(18, 40))));
    play.event(found(facts(None, None)));
    assert_eq!(play.asked_wandb.len(), 1);
    let before = filled(&play).len();
    play.event(Event::WandbRun(run, facts(Some("https://wandb.ai/e/p/runs/other"), Some(2.0))));
    assert_eq!(filled(&play).len(), before);
    assert_eq!(snapshot(&play.world, play.now).runs[0].wandb_url.as_deref(), Some(page));
}

#[test]
fn a_failure_is_announced_once_and_noted_once() {
    let mut play = Play::new();
    play.caught_up();
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    let text = named(&(bar(17, 40) + &loss("8.6") + &bar(18, 40)));
    play.log(LOG, &text);
    let failed = text
        + "Traceback (most recent call last):\n  File \"x.py\", line 1, in <module>\n\
           torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n\
           Traceback (most recent call last):\n\
           subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1.\n";
    play.log(LOG, &failed);
    assert_eq!(play.states(), ["training", "failed"]);
    assert_eq!(play.failures().len(), 1, "{:?}", play.failures());
    assert_eq!(play.notes(), 0, "the log may say more");
    play.restart_and_read();
    play.later(5);
    play.later(5);
    let note = play.note("out-of-memory");
    for wanted in [
        "out_of_memory at step 18",
        "CUDA out of memory",
        "exit status 1",
        "loss 8.6",
        "checkpoint-20",
        LOG,
    ] {
        assert!(note.contains(wanted), "no {wanted} in {note}");
    }
    play.log(LOG, &failed);
    play.restart_and_read();
    play.minutes(5);
    assert_eq!((play.notes(), play.failures().len(), play.states().len()), (1, 1, 2));
    let conclusions: Vec<&String> = play
        .journal
        .documents
        .iter()
        .filter_map(|edit| match edit {
            DocumentEdit::RunRow { fills, .. } => Some(fills),
            _ => None,
        })
        .flatten()
        .map(|fill| &fill.value)
        .filter(|value| value.contains("FAILED"))
        .collect();
    assert_eq!(conclusions.len(), 1);
    assert!(conclusions[0].contains("at step 18.** [Note](run_reports/"), "{conclusions:?}");
}

#[test]
fn a_failure_before_the_first_checkpoint_has_a_note_and_no_row() {
    let mut play = Play::new();
    play.caught_up();
    play.log(
        LOG,
        &named("Traceback (most recent call last):\nModuleNotFoundError: No module named 'x'\n"),
    );
    play.later(5);
    assert_eq!(play.notes(), 1);
    let makes_row =
        |edit: &DocumentEdit| matches!(edit, DocumentEdit::RunRow { add_missing: true, .. });
    assert!(!play.journal.documents.iter().any(makes_row), "{:?}", play.journal.documents);
    // The next listing of the folder must not make it forgotten, nor a restart.
    play.list(&[], HOME);
    play.restart_and_read();
    play.list(&[], HOME);
    play.minutes(2);
    assert_eq!((play.notes(), play.state(RUN).0.as_str()), (1, "failed"));
    play.minutes(25 * 60);
    assert_eq!(play.state(RUN).0, "", "a day later it is shown no more");
}

#[test]
fn what_was_old_at_the_first_look_is_neither_announced_nor_noted() {
    let mut play = Play::new();
    play.caught_up();
    let failed = named("ValueError: x\nTraceback (most recent call last):\nValueError: first\n");
    let old = Moment::parse("2026-11-20T08:00:00+01:00").unwrap().timestamp();
    play.log_at(LOG, &failed, old);
    play.restart_and_read();
    play.minutes(3);
    assert_eq!((play.notes(), play.failures(), play.states()), (0, vec![], Vec::<String>::new()));
    assert_eq!(play.state(RUN).0, "");
    // It is written to again: from now on it is of today, but what it said before stays said.
    let again = failed + "***** Running training *****\n" + &bar(3, 40) + &loss("8.0");
    play.log(LOG, &again);
    assert_eq!((play.failures(), play.states()), (vec![], vec!["training".to_owned()]));
}

#[test]
fn interrupted_training_failed_without_a_note() {
    let mut play = Play::new();
    play.caught_up();
    play.log(
        LOG,
        &named(&(bar(3, 40) + "Traceback (most recent call last):\nKeyboardInterrupt\n")),
    );
    play.minutes(1);
    assert_eq!(play.state(RUN).0, "failed");
    assert_eq!((play.failures()[0].0.as_str(), play.notes()), ("interrupted", 0));
}

#[test]
fn a_loss_that_is_not_finite_is_told_while_training_goes_on() {
    let mut play = Play::new();
    play.caught_up();
    let mut text = named(&bar(3, 40));
    for step in 4..30 {
        text += &("\n{'loss': 0.0, 'grad_norm': nan, 'epoch': 0.02}\n".to_owned() + &bar(step, 40));
        play.later(1);
        play.log(LOG, &text);
    }
    assert_eq!(play.failures().len(), 1);
    assert_eq!((play.notes(), play.state(RUN).0.as_str()), (1, "training"));
    let note = play.note("non-finite");
    assert!(note.contains("Training is not healthy") && note.contains("not stopped"), "{note}");
}

#[test]
fn output_that_returns_revives_a_run() {
    let mut play = Play::new();
    play.caught_up();
    let mut text = named("");
    for step in 1..20 {
        text += &bar(step, 40);
        play.later(10);
        play.log(LOG, &text);
    }
    play.written_by(LOG, Some(vec![123]));
    play.minutes(9);
    assert_eq!(play.state(RUN).0, "training");
    play.minutes(3);
    let (state, evidence) = play.state(RUN);
    assert_eq!(state, "stalled");
    assert!(evidence.contains("pid 123 still holds the log"), "{evidence}");
    assert!(snapshot(&play.world, play.now).runs[0].eta_basis.contains("stalled"));
    play.restart_and_read();
    play.minutes(1);
    play.log(LOG, &(text + &bar(21, 40)));
    assert_eq!(play.states(), ["training", "stalled", "training"]);
}

#[test]
fn a_process_that_is_gone_without_a_word_is_a_failure_once() {
    for killed in [false, true] {
        let mut play = Play::new();
        play.caught_up();
        play.log(LOG, &named(&(bar(3, 40) + &loss("8.0"))));
        play.written_by(LOG, Some(vec![123]));
        play.restart_and_read();
        if killed {
            let finding = KernelFinding {
                time: play.now.timestamp(),
                what: KernelHappening::OutOfMemory { pid: 124, task: "python".to_owned() },
                text: "Out of memory: Killed process 124 (python)".to_owned(),
            };
            play.event(Event::KernelLog(KernelReading { findings: vec![finding], note: None }));
        }
        play.minutes(2);
        assert_eq!(play.states(), ["training"], "nobody was asked who writes it");
        play.written_by(LOG, Some(vec![]));
        let class = if killed { "out_of_memory" } else { "unknown" };
        assert_eq!(play.failures(), [(class.to_owned(), None)]);
        let (state, evidence) = play.state(RUN);
        assert_eq!(state, "failed");
        assert!(evidence.contains("pid 123) is gone"), "{evidence}");
        play.restart_and_read();
        play.written_by(LOG, Some(vec![]));
        play.minutes(5);
        assert_eq!((play.failures().len(), play.notes(), play.states().len()), (1, 1, 2));
    }
}

#[test]
fn a_log_without_a_name_belongs_to_the_one_run_that_fits() {
    let run = "tsdae_posonly_H64L2C128_20261123_063802";
    let mut play = Play::new();
    play.caught_up();
    play.log(NAMELESS, &bar(3, 40));
    let unlinked = snapshot(&play.world, play.now).unlinked_logs;
    assert!(unlinked[0].reason.contains("no run of the family `tsdae_posonly`"), "{unlinked:?}");
    play.show(run, &[("checkpoint-20", complete("a"))]);
    assert!(snapshot(&play.world, play.now).unlinked_logs.is_empty());
    assert_eq!(play.state(run).0, "training");
    let known = &play.journal.memory.runs[0];
    assert_eq!(known.facts.shell_log.as_deref(), Some(NAMELESS));
    // A later log of the same family is nearer to its run, and a tie once made stays.
    play.log("Cache/logs/shell_tsdae_posonly_20261123_062900.log", "ImportError: no\n");
    let unlinked = snapshot(&play.world, play.now).unlinked_logs;
    assert!(unlinked[0].reason.contains("began after it"), "{unlinked:?}");
    play.log(NAMELESS, &(bar(3, 40) + &bar(4, 40)));
    play.restart_and_read();
    assert_eq!(play.state(run).0, "training");
}

#[test]
fn one_log_of_two_runs_tells_of_each_its_own_part() {
    let other = "diffusion_H64L2C32_20261123_070000";
    let mut play = Play::new();
    play.caught_up();
    let first = named(&(loss("8.0") + "Training completed successfully!\n"));
    let second = format!("Output directory: Cache/Training/{other}\n{}{}", loss("7.0"), bar(3, 9));
    play.log(LOG, &(first + "***** Running training *****\n" + &second));
    assert_eq!(play.state(RUN).0, "complete");
    assert_eq!(play.state(other).0, "training");
}

#[test]
fn of_two_logs_of_one_run_the_newer_one_tells_its_state() {
    let mut play = Play::new();
    play.caught_up();
    play.log(LOG, &named("Traceback (most recent call last):\nValueError: first\n"));
    play.later(60);
    let resumed = "Cache/logs/shell_diffusion_20261123_080000.log";
    play.log(resumed, &named(&bar(21, 40)));
    assert_eq!(play.states(), ["failed", "training"]);
    let run = snapshot(&play.world, play.now).runs[0].clone();
    assert_eq!(run.shell_logs, [resumed, LOG]);
}

#[test]
fn a_renamed_run_keeps_its_log_and_its_state() {
    let mut play = Play::new();
    play.caught_up();
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    play.log(LOG, &named(&bar(20, 40)));
    let renamed = "kept_H64L2C128D2_20261123_063802";
    play.list(&[renamed], HOME);
    play.show(renamed, &[("checkpoint-20", complete("a"))]);
    play.log(LOG, &named(&(bar(20, 40) + &bar(21, 40))));
    play.restart_and_read();
    play.log(LOG, &named(&(bar(20, 40) + &bar(22, 40))));
    assert_eq!(play.state(renamed).0, "training");
    assert_eq!((play.state(RUN).0, play.states().len()), (String::new(), 1));
}

#[test]
fn the_end_is_estimated_from_progress_that_was_observed() {
    let mut play = Play::new();
    play.caught_up();
    let mut text = named("");
    for step in 1..=12 {
        text += &bar(step * 30, 3000);
        play.later(30);
        play.log(LOG, &text);
    }
    let run = snapshot(&play.world, play.now).runs[0].clone();
    assert!(
        run.eta_basis.starts_with("330 of 3,000 steps, 1.0 steps/s over the last"),
        "{}",
        run.eta_basis
    );
    let end = Moment::parse(run.eta.as_deref().unwrap()).unwrap();
    let left = end.since(play.now.timestamp()).as_secs();
    assert!((2640..2720).contains(&left), "{left}");
}

#[test]
fn nothing_is_concluded_from_silence_before_all_was_read() {
    let mut play = Play::new();
    play.caught_up();
    play.log(LOG, &named(&bar(3, 40)));
    play.written_by(LOG, Some(vec![123]));
    play.restart();
    play.minutes(600);
    play.written_by(LOG, Some(vec![]));
    assert_eq!(play.states(), ["training"]);
    play.log(LOG, &named(&(bar(3, 40) + "\n{'train_runtime': 4.7, 'train_loss': 8.36}\n")));
    play.caught_up();
    assert_eq!(play.states(), ["training", "complete"]);
}

#[test]
fn a_log_that_is_tidied_away_takes_no_state_along() {
    let mut play = Play::new();
    play.caught_up();
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    play.log(LOG, &named("Training completed successfully!\n"));
    play.event(Event::ShellLogGone(LogKey::new(LOG)));
    play.minutes(2);
    play.restart_and_read();
    play.minutes(2);
    assert_eq!(play.state(RUN).0, TrainingState::Complete.as_str());
    assert_eq!(play.states().len(), 1);
}

/// One thing that happens to a training and its watcher.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The log says something more.
    Says(usize),
    /// Time passes.
    Minutes(u64),
    /// It is asked who writes the log.
    Asked(Option<bool>),
    /// A checkpoint is saved.
    Saved,
    /// The journal cannot commit, or can again; what was missed is told anew.
    Journal(bool),
    /// The daemon is killed and starts again, before or after it has read the log.
    Restart(bool),
}

const SAYINGS: [&str; 8] = [
    "\r 10%|█         | 3/40 [00:03<01:00,  1.00it/s]\r 20%|█         | 8/40 [00:08<01:00,  1.00it/s]\r",
    "\n{'loss': 8.5, 'grad_norm': 1.5, 'epoch': 0.02}\n",
    "\n{'loss': 0.0, 'grad_norm': nan, 'epoch': 0.02}\n",
    "\nTraceback (most recent call last):\n  File \"x.py\", line 1\nValueError: no\n",
    "\ntorch.OutOfMemoryError: CUDA out of memory.\n",
    "\nTraceback (most recent call last):\nKeyboardInterrupt\n",
    "\n***** Running training *****\n",
    "\nTraining completed successfully!\n",
];

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let one = prop_oneof![
        8 => (0..SAYINGS.len()).prop_map(Turn::Says),
        3 => (1..40_u64).prop_map(Turn::Minutes),
        2 => proptest::option::of(any::<bool>()).prop_map(Turn::Asked),
        1 => proptest::strategy::Just(Turn::Saved),
        1 => any::<bool>().prop_map(Turn::Journal),
        2 => any::<bool>().prop_map(Turn::Restart),
    ];
    proptest::collection::vec(one, 1..30)
}

/// What is on disk beside the play.
struct Disk {
    text: String,
    saved: usize,
}

impl Disk {
    fn show(&self, play: &mut Play) {
        let names: Vec<String> = (1..=self.saved).map(|one| format!("checkpoint-{one}")).collect();
        let shown: Vec<(&str, Condition)> =
            names.iter().map(|name| (name.as_str(), complete(name))).collect();
        if !shown.is_empty() {
            play.show(RUN, &shown);
        }
        play.log(LOG, &self.text);
    }
}

fn take_turn(play: &mut Play, disk: &mut Disk, turn: Turn) {
    match turn {
        Turn::Says(which) => {
            disk.text += SAYINGS[which];
            play.log(LOG, &disk.text);
        }
        Turn::Minutes(minutes) => play.minutes(minutes),
        Turn::Asked(answer) => {
            play.written_by(LOG, answer.map(|lives| if lives { vec![7] } else { Vec::new() }));
        }
        Turn::Saved => {
            disk.saved += 1;
            disk.show(play);
        }
        Turn::Journal(fails) => {
            play.event(Event::CommitTrouble(fails.then(|| "full".to_owned())));
            if !fails {
                disk.show(play);
            }
        }
        Turn::Restart(reads) => {
            play.restart();
            if reads {
                disk.show(play);
                play.caught_up();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever a log says, in whatever pieces and with whatever deaths between: each failure is
    /// announced exactly once, no state is announced twice in a row, no kind is noted twice, and the
    /// state that is shown in the end is the one that was announced last.
    #[test]
    fn no_history_of_a_log_tells_anything_twice(history in turns()) {
        let mut play = Play::new();
        play.caught_up();
        let mut disk = Disk { text: named(""), saved: 0 };
        for turn in history {
            take_turn(&mut play, &mut disk, turn);
        }
        play.event(Event::CommitTrouble(None));
        disk.show(&mut play);
        play.caught_up();
        play.minutes(2);
        let mut states = play.states();
        let announced = states.len();
        states.dedup();
        assert_eq!(states.len(), announced, "{states:?}");
        if let Some(last) = states.last() {
            assert_eq!(&play.state(RUN).0, last);
        }
        let mut told: Vec<_> = play.failures().into_iter().filter(|one| one.1.is_some()).collect();
        told.sort();
        let wanted = play.world.logs[&LogKey::new(LOG)].known.reading.trainings.iter();
        let wanted = wanted.flat_map(|training| &training.failures).filter(|one| !one.is_cascade);
        for failure in wanted {
            let same = |one: &&(String, Option<u64>)| **one == (failure.class.clone(), Some(failure.line));
            assert_eq!(told.iter().filter(same).count(), 1, "{failure:?} in {told:?}");
        }
        told.dedup();
        assert_eq!(told.len(), play.failures().iter().filter(|one| one.1.is_some()).count());
        let mut kinds: Vec<_> = play.journal.memory.notes.iter().map(|note| &note.1).collect();
        kinds.sort();
        kinds.dedup();
        assert_eq!(kinds.len(), play.notes());
    }
}
