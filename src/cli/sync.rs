//! `sync`: evaluation reports between this checkout and another host.

use crate::daemon::load_settings;
use crate::daemon::sync::{self, Done, Prepared, Progress, Wanted};
use crate::model::numbers::counted;
use crate::model::sync::{Conflict, Copy, Direction, Left, Step, SyncPlan, Transfer, Why};

use super::interruption::interrupted;
use super::output::{Ended, Outcome, Output};
use super::terminal::{bytes_text, clean};
use super::{Common, exit};

/// Arguments of `sync`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
New and changed files only; nothing is deleted on either side. Of two versions the one that was
changed since the last sync wins, without a last sync the newer one. Where that decides nothing both
are kept: neither is replaced, and the other side's comes beside it as
`<name>.conflict-<host>-<time>.<ending>`. Edit or replace your file to choose a version.

Goes through your own ssh with its configuration, keys and agent, and asks nothing: `ssh HOST` must
work without a password. Files are moved by rsync where both ends have it, else by sftp, and get
their names when they are whole; after an interruption run it again.

Examples:
  runscribe sync odin                          bring what is new on odin
  runscribe sync k@odin:/home/k/MrCogito       the project is elsewhere there
  runscribe sync odin --two-way --dry-run      see what both would get

Exit codes: 0 done, 1 something was not done.")]
pub(super) struct Arguments {
    /// The other host, `[user@]host[:path]`, with the project's root there if it is not the same
    /// as here; a path that does not begin with `/` begins in the user's home
    #[arg(value_name = "HOST")]
    place: String,
    /// Send to the other host in place of bringing from it
    #[arg(long, conflicts_with = "two_way")]
    upload: bool,
    /// Bring and send
    #[arg(long)]
    two_way: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let direction = match (arguments.upload, arguments.two_way) {
        (true, _) => Direction::Upload,
        (_, true) => Direction::TwoWay,
        _ => Direction::Download,
    };
    let wanted = Wanted { place: &arguments.place, direction, dry_run: arguments.dry_run };
    // Dropping the work ends ssh and rsync with it; parts stay for the next attempt.
    tokio::select! {
        done = Box::pin(work(&settings, wanted, output)) => done,
        signal = interrupted() => {
            let text = format!("stopped by {signal}; run it again, and it goes on where it was");
            Err(Ended::Failed(exit::FAILED, text))
        }
    }
}

async fn work(
    settings: &crate::settings::Settings,
    wanted: Wanted<'_>,
    output: &mut Output,
) -> Outcome {
    let prepared = sync::prepare(settings, wanted).await?;
    for line in describe(&prepared, wanted.direction) {
        output.line(&clean(&line))?;
    }
    let plan = prepared.plan.clone();
    if wanted.dry_run {
        prepared.close().await;
        output.line(&clean(&format!("nothing was written (--dry-run): {}", intended(&plan))))?;
        return Ok(());
    }
    let is_shown = output.width != usize::MAX;
    let mut shown = String::new();
    let mut show = |progress: Progress| {
        let Progress { done, total } = progress;
        let text = format!("\r  {} of {} ", bytes_text(done), bytes_text(total));
        if is_shown && text != shown && output.text(&text).is_ok() {
            shown = text;
        }
    };
    let done = prepared.carry_out(&mut show).await;
    if !shown.is_empty() {
        output.text("\r\x1b[K")?;
    }
    let done = done?;
    for problem in &done.problems {
        output.line(&clean(&format!("  not done: {problem}")))?;
    }
    output.line(&summary(&done, plan.equal))?;
    if done.problems.is_empty() { Ok(()) } else { Err(Ended::Code(exit::FAILED)) }
}

/// Returns what is going to be done, line by line: a dry run prints the same as a real one.
fn describe(prepared: &Prepared, direction: Direction) -> Vec<String> {
    let arrow = match direction {
        Direction::Download => "<-",
        Direction::Upload => "->",
        Direction::TwoWay => "<->",
    };
    let mut lines = vec![format!("{} {arrow} {}", prepared.here().display(), prepared.place())];
    let plan = &prepared.plan;
    lines.extend(plan.steps.iter().map(step_text));
    lines.extend(
        plan.left
            .iter()
            .map(|(name, why)| format!("  left      {}  {}", name.display(), left_text(*why))),
    );
    if plan.steps.iter().any(|step| !matches!(step, Step::KeepBoth(_))) {
        lines.push(format!("  through {}", prepared.transport()));
    }
    lines
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Download(one) => transfer_text("download", one, "there"),
        Step::Upload(one) => transfer_text("upload", one, "here"),
        Step::KeepBoth(conflict) => conflict_text(conflict),
    }
}

fn transfer_text(verb: &str, one: &Transfer, side: &str) -> String {
    let why = match one.why {
        Why::New => "new".to_owned(),
        Why::Newer => format!("newer {side}"),
        Why::Changed => format!("changed {side}"),
    };
    format!("  {verb:<8}  {}  {}  {why}", one.name.display(), bytes_text(one.stamp.size))
}

fn conflict_text(conflict: &Conflict) -> String {
    let why = if conflict.both_changed {
        "changed on both sides since the last sync"
    } else {
        "differs, and neither is newer"
    };
    let kept = |copy: &Option<Copy>, whose: &str| {
        let copy = copy.as_ref()?;
        let is = if copy.is_there { "stands" } else { "comes" };
        let name = copy.name.file_name().unwrap_or_default().display();
        Some(format!("{whose} {is} beside it as `{name}`"))
    };
    let kept =
        [kept(&conflict.theirs_here, "here theirs"), kept(&conflict.ours_there, "there ours")];
    let kept: Vec<String> = kept.into_iter().flatten().collect();
    format!("  conflict  {}  {why}; {}", conflict.name.display(), kept.join(", "))
}

fn left_text(why: Left) -> &'static str {
    match why {
        Left::NewsHere => "new or newer here (--upload or --two-way sends it)",
        Left::NewsThere => "new or newer there (without --upload it is brought)",
        Left::Conflict => "still in conflict: edit or replace it on one side to choose a version",
    }
}

fn intended(plan: &SyncPlan) -> String {
    let mut done = Done::default();
    for step in &plan.steps {
        match step {
            Step::Download(_) => done.downloaded += 1,
            Step::Upload(_) => done.uploaded += 1,
            Step::KeepBoth(_) => done.conflicts += 1,
        }
    }
    summary(&done, plan.equal)
}

fn summary(done: &Done, equal: u64) -> String {
    let mut parts = vec![
        format!("{} downloaded", counted(done.downloaded, "file")),
        format!("{} uploaded", done.uploaded),
    ];
    if done.conflicts > 0 {
        parts.push(format!("{} kept as both", counted(done.conflicts, "conflict")));
    }
    if !done.problems.is_empty() {
        parts.push(format!("{} not done", done.problems.len()));
    }
    parts.push(format!("{equal} the same"));
    parts.join(", ")
}
