//! One cause that fails every checkpoint of a run is told once, with a count.

use super::*;

#[test]
fn a_class_that_fails_one_checkpoint_after_the_other_is_reported_once_with_a_count() {
    let mut play = Play::new();
    for (step, content) in [(20, "a"), (40, "b"), (60, "c")] {
        let name = format!("checkpoint-{step}");
        play.show(RUN, &[(&name, complete(content))]);
        play.end(failed(FailureClass::CorruptWeights));
    }
    let counts: Vec<u32> = play
        .journal
        .events
        .iter()
        .filter_map(|event| match event {
            Happening::AnalysisFailed { failing_checkpoints, .. } => Some(*failing_checkpoints),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [1, 2, 3]);
    let told = |play: &Play| -> Vec<String> {
        let problems = snapshot(&play.world, play.now).problems;
        problems.into_iter().filter(|problem| problem.contains("the analysis fails")).collect()
    };
    assert_eq!(
        told(&play),
        [format!(
            "run `{RUN}`: the analysis fails (corrupt_weights) at 3 checkpoints, checkpoint-60 among \
             them: exit 1"
        )]
    );
    // A restart tells the same, another class is told beside it, and a success ends it.
    play.restart();
    assert_eq!(told(&play).len(), 1);
    play.show(RUN, &[("checkpoint-80", complete("d"))]);
    play.end(failed(FailureClass::OutOfMemory));
    let both = told(&play);
    assert!(both[0].contains("corrupt_weights") && both[1].contains("out_of_memory"), "{both:?}");
    play.show(RUN, &[("checkpoint-80", complete("d")), ("checkpoint-100", complete("e"))]);
    play.end(reported(20.0));
    let left = told(&play);
    assert!(left.len() == 1 && left[0].contains("out_of_memory) at checkpoint-80"), "{left:?}");
}
