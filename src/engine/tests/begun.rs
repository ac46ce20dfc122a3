//! A run that appears is the training that was begun as it, if exactly one can be.

use super::*;

const BASE: &str = "diffusion_H64L2C128D2";
const LATER: &str = "diffusion_H64L2C128D2_20261123_070000";

fn begun(run: &str, number: u32, time: &str) -> BegunTraining {
    BegunTraining {
        run: run.to_owned(),
        tag: format!("train/{run}-{number}"),
        time: Moment::parse(time).unwrap(),
        commit: "54ee870".to_owned(),
        script: "scripts/train.sh".to_owned(),
        cells: Vec::new(),
        plan: Vec::new(),
    }
}

/// Returns run and tag of each row that was given away, and where the first row of a run comes.
fn ties(play: &Play) -> Vec<(String, String)> {
    let ties = play.journal.documents.iter().filter_map(|edit| match edit {
        DocumentEdit::TieRow { run, tag, base, .. } => {
            assert_eq!(base, run.base());
            Some((run.to_string(), tag.clone()))
        }
        _ => None,
    });
    ties.collect()
}

fn unclear(play: &Play) -> Vec<String> {
    let problems = snapshot(&play.world, play.now).problems;
    problems.into_iter().filter(|problem| problem.contains("may be what was begun")).collect()
}

#[test]
fn a_run_is_tied_once_before_anything_else_is_written_of_it_and_across_restarts() {
    let mut play = Play::new();
    let all = vec![
        begun(BASE, 1, "2026-11-23T06:38:00+01:00"),
        // Of other dimensions, and begun only afterwards.
        begun("diffusion_H64L2C64D2", 1, "2026-11-23T06:00:00+01:00"),
        begun(BASE, 2, "2026-11-23T06:50:00+01:00"),
    ];
    play.event(Event::Begun(all.clone()));
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    let tied = vec![(RUN.to_owned(), format!("train/{BASE}-1"))];
    assert_eq!(ties(&play), tied);
    let first = play.journal.documents.iter().position(|edit| edit.run() == RUN);
    let tie = |edit: &DocumentEdit| matches!(edit, DocumentEdit::TieRow { .. });
    assert_eq!(first, play.journal.documents.iter().position(tie));
    play.restart();
    play.event(Event::Begun(all));
    play.show(RUN, &[("checkpoint-20", complete("a")), ("checkpoint-40", complete("b"))]);
    assert_eq!(ties(&play), tied);
    assert_eq!(unclear(&play), Vec::<String>::new());
    // What one run is, no other can be; the second one is what was begun second.
    play.show(LATER, &[("checkpoint-20", complete("c"))]);
    assert_eq!(ties(&play).last(), Some(&(LATER.to_owned(), format!("train/{BASE}-2"))));
}

#[test]
fn of_several_that_fit_none_is_chosen_and_the_status_names_them() {
    let mut play = Play::new();
    let begun: Vec<BegunTraining> =
        (1..=2).map(|number| begun(BASE, number, "2026-11-23T06:00:00+01:00")).collect();
    play.event(Event::Begun(begun.clone()));
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    assert_eq!(ties(&play), []);
    let told =
        format!("run `{RUN}` may be what was begun as `train/{BASE}-1` or `train/{BASE}-2`: ");
    let problems = unclear(&play);
    assert!(problems.len() == 1 && problems[0].starts_with(&told), "{problems:?}");
    play.restart();
    play.event(Event::Begun(begun));
    assert_eq!(unclear(&play).len(), 1);
}

#[test]
fn a_run_that_was_there_before_is_nothing_that_was_begun() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    play.event(Event::Begun(vec![begun(BASE, 1, "2026-11-23T09:00:00+01:00")]));
    play.show(RUN, &[("checkpoint-20", complete("a")), ("checkpoint-40", complete("b"))]);
    assert_eq!((ties(&play), unclear(&play)), (Vec::new(), Vec::new()));
}
