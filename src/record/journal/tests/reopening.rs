//! What a person asks for is remembered: a pause, and another analysis of what had failed for good.

use super::*;

#[test]
fn a_pause_is_remembered_until_it_is_ended() {
    let project = Project::new();
    let mut journal = project.journal();
    for paused in [Some(moment(TIME)), Some(moment("2026-02-25T15:00:00+01:00")), None] {
        journal.commit(&changes(vec![Change::Paused(paused)]), now()).unwrap();
        assert_eq!(project.reader().memory().unwrap().paused, paused);
        drop(journal);
        let (again, memory) = Journal::open(&project.state(), 100).unwrap();
        assert_eq!(memory.paused, paused);
        journal = again;
    }
}

#[test]
fn what_a_person_wants_first_is_remembered_in_its_order() {
    let project = Project::new();
    let mut journal = project.journal();
    let first = (checkpoint(DIFFUSION, "checkpoint-40"), digest("b"));
    let second = (checkpoint(DIFFUSION, "final"), digest("c"));
    for asked in [vec![second.clone()], vec![first, second], Vec::new()] {
        journal.commit(&changes(vec![Change::Asked(asked.clone())]), now()).unwrap();
        assert_eq!(project.reader().memory().unwrap().asked, asked);
    }
}

#[test]
fn a_reopened_content_gets_one_more_observation_and_keeps_the_first() {
    let project = Project::new();
    let mut journal = project.journal();
    let later = "2026-02-25T15:00:00+01:00";
    let name = "checkpoint-20";
    let failed = failed_observation(DIFFUSION, name, "a", TIME);
    let made = Change::Observed(Box::new(failed.clone()));
    let first = vec![Change::Run(known_run(DIFFUSION, 1)), complete(DIFFUSION, name, "a"), made];
    journal.commit(&changes(first), now()).unwrap();
    let again = || changes(vec![observed(DIFFUSION, name, "a", later)]);
    let refused = journal.commit(&again(), now()).unwrap_err();
    assert!(matches!(refused, CommitError::AlreadyObserved(..)), "{refused}");

    let reopened =
        Change::Reopened { checkpoint: checkpoint(DIFFUSION, name), digest: digest("a") };
    journal.commit(&changes(vec![reopened]), now()).unwrap();
    drop(journal);
    let (mut journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert_eq!(memory.checkpoints[0].standing, ContentStanding::Pending);
    assert_eq!(memory.observations, std::slice::from_ref(&failed));

    journal.commit(&again(), now()).unwrap();
    let refused = journal.commit(&again(), now()).unwrap_err();
    assert!(matches!(refused, CommitError::AlreadyObserved(..)), "{refused}");
    let memory = project.reader().memory().unwrap();
    assert_eq!(memory.observations, [failed, observation(DIFFUSION, name, "a", later)]);
    assert_eq!(memory.checkpoints[0].standing, ContentStanding::Observed);
}

#[test]
fn the_run_of_a_reopened_content_can_be_renamed() {
    let project = Project::new();
    let mut journal = project.journal();
    let name = "checkpoint-20";
    let failed = Change::Observed(Box::new(failed_observation(DIFFUSION, name, "a", TIME)));
    let later = "2026-02-25T15:00:00+01:00";
    let history = vec![
        Change::Run(known_run(DIFFUSION, 1)),
        complete(DIFFUSION, name, "a"),
        failed,
        Change::Reopened { checkpoint: checkpoint(DIFFUSION, name), digest: digest("a") },
        observed(DIFFUSION, name, "a", later),
        Change::RunRenamed { from: RunId::new(DIFFUSION), to: RunId::new(PERCEIVER) },
    ];
    journal.commit(&changes(history), now()).unwrap();
    let memory = project.reader().memory().unwrap();
    let ids: Vec<String> =
        memory.observations.iter().map(|one| one.checkpoint.to_string()).collect();
    assert_eq!(ids, vec![format!("{PERCEIVER}/{name}"); 2]);
}

#[test]
fn a_journal_of_version_1_takes_the_observations_along() {
    let project = Project::new();
    fs::create_dir(project.state()).unwrap();
    let first = Connection::open(project.state().join("journal.db")).unwrap();
    first
        .execute_batch(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/record/journal_version_1.sql"
        )))
        .unwrap();
    drop(first);
    let (mut journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert_eq!((memory.paused, memory.observations.len()), (None, 2));
    // The old promise holds for what was observed before: once, and no time twice.
    let again = observed(DIFFUSION, "checkpoint-20", "a", "2026-02-25T15:00:00+01:00");
    let error = journal.commit(&changes(vec![again]), now()).unwrap_err();
    assert!(matches!(error, CommitError::AlreadyObserved(..)), "{error}");
    let same_time = observed(DIFFUSION, "checkpoint-20", "other", TIME);
    let error = journal.commit(&changes(vec![same_time]), now()).unwrap_err();
    assert!(matches!(error, CommitError::TimeTaken(..)), "{error}");
}
