//! Tests of the comparison of two runs.

use expect_test::expect;

use super::support::{DIFFUSION, PERCEIVER, observation, rejudge, with};
use crate::document::compare::{Compared, comparison};
use crate::model::ids::{CheckpointName, RunId};
use crate::model::measurement::Verdict;
use crate::model::observation::Observation;

fn at(step: u64, rank: f64) -> Observation {
    with(observation(PERCEIVER, (512, 128), step), |observation| {
        rejudge(observation, |judgment| {
            if let Some(reading) = &mut judgment.rank {
                reading.value = rank;
            }
        });
    })
}

fn compare(left: &[Observation], right: &[Observation]) -> Result<String, String> {
    let (first, second) = (RunId::new("first"), RunId::new("sec|ond"));
    comparison(
        Compared { run: &first, observations: left },
        Compared { run: &second, observations: right },
    )
}

#[test]
fn equal_steps_stand_beside_each_other_and_the_newest_observation_of_each_counts() {
    let passing = with(at(15_000, 31.5), |one| {
        rejudge(one, |judgment| judgment.verdict = Verdict::Pass);
        if let Some(training) = &mut one.training {
            training.not_finite.push("grad_norm".to_owned());
            training.loss = Some(0.0);
        }
    });
    let last = with(at(1, 40.0), |one| one.checkpoint.name = CheckpointName::Final);
    let left = [at(5_000, 2.0), at(5_000, 12.0), at(15_000, 7.3), at(20_000, 7.0), last.clone()];
    let other_last = with(last, |one| {
        if let Some(training) = &mut one.training {
            training.step += 1_000;
        }
    });
    let right = [at(5_000, 13.0), passing, other_last];
    expect![[r#"
        A: `first`  
        B: sec\|ond  

        | Checkpoint | Eff. Rank A | Eff. Rank B | Mean sim. A | Mean sim. B | Max sim. A | Max sim. B | Loss A | Loss B | Eval loss A | Eval loss B | Verdict A | Verdict B |
        |---|---|---|---|---|---|---|---|---|---|---|---|---|
        | `checkpoint-5000` | 12.0 / 128 (9.4%) | 13.0 / 128 (10.2%) | 0.187 | 0.187 | 1.000 | 1.000 | 2.718 | 2.718 | 1.433 | 1.433 | **fail** | **fail** |
        | `checkpoint-15000` | 7.3 / 128 (5.7%) | 31.5 / 128 (24.6%) | 0.187 | 0.187 | 1.000 | 1.000 | 2.718 | nan | 1.433 | 1.433 | **fail** | pass |
        | `final` | 40.0 / 128 (31.2%) | 40.0 / 128 (31.2%) | 0.187 | 0.187 | 1.000 | 1.000 | 2.718 | 2.718 | 1.433 | 1.433 | **fail** | **fail** |

        - The final models are of other steps: A of 1, B of 1001.
        - A alone has 1 more.
    "#]].assert_eq(&compare(&left, &right).unwrap());
}

#[test]
fn what_stands_against_a_comparison_is_said() {
    let other = with(observation(DIFFUSION, (64, 128), 5_000), |one| {
        one.protocol = "0000ffff".to_owned();
    });
    let text = compare(&[at(5_000, 12.0)], &[other]).unwrap();
    let (_, remarks) = text.split_once("\n\n- ").unwrap();
    expect![[r#"
        They were measured in different ways (protocols `0000ffff`, `3f2a9c`): the ranks cannot be compared.
        - They differ in concepts or hidden size: compare the shares, not the ranks.
    "#]].assert_eq(remarks);
}

#[test]
fn runs_without_a_common_step_are_not_compared() {
    let many: Vec<Observation> = (1..=14).map(|step| at(step, 12.0)).collect();
    let refused = |left: &[Observation], right: &[Observation]| compare(left, right).unwrap_err();
    expect!["no checkpoint of the same step was analyzed of both runs: `first` has checkpoint-1, checkpoint-2, checkpoint-3, checkpoint-4, checkpoint-5, checkpoint-6, checkpoint-7, checkpoint-8, checkpoint-9, checkpoint-10, checkpoint-11, checkpoint-12 and 2 more, `sec|ond` has checkpoint-20000"].assert_eq(&refused(&many, &[at(20_000, 12.0)]));
    expect!["no checkpoint of the same step was analyzed of both runs: `first` has none, `sec|ond` has checkpoint-20000"].assert_eq(&refused(&[], &[at(20_000, 12.0)]));
}
