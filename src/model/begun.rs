//! Trainings that a person has begun, before the daemon sees their runs.

use serde::{Deserialize, Serialize};

use super::ids::RunId;
use super::observation::CellFill;
use super::time::Moment;

/// The folder inside the state folder that holds one file for each training that was begun.
pub const BEGUN_FOLDER: &str = "begun";

/// A training that was begun: it has a tag, and a pending row in the experiment log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunTraining {
    /// The run id without its time stamp, such as `diffusion_H512L6C128D2`.
    pub run: String,
    /// Its tag.
    pub tag: String,
    /// When it was begun.
    pub time: Moment,
    /// The commit that is trained.
    pub commit: String,
    /// The script that starts it, relative to the root.
    pub script: String,
    /// What was written into its row, as it stands there: what still does is runscribe's own.
    pub cells: Vec<CellFill>,
    /// What was written into the columns that say how it was planned to train.
    #[serde(default)]
    pub plan: Vec<String>,
}

impl BegunTraining {
    /// Returns whether a run can be this training: same family and dimensions, and not started
    /// before. A run whose id has no time of its start counts from when it was seen.
    pub fn can_be(&self, run: &RunId, first_seen: Moment) -> bool {
        let started = run.stamp().unwrap_or_else(|| first_seen.local());
        run.base() == self.run && started >= self.time.whole_seconds().local()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_can_be_what_was_begun_before_it_with_the_same_dimensions() {
        let time = Moment::parse("2026-02-23T20:33:49.7+01:00").unwrap();
        let begun = BegunTraining {
            run: "diffusion_H512L6C128D2".to_owned(),
            tag: "train/diffusion_H512L6C128D2_20260223".to_owned(),
            time,
            commit: "54ee870".to_owned(),
            script: "scripts/train.sh".to_owned(),
            cells: Vec::new(),
            plan: Vec::new(),
        };
        for (run, expected) in [
            ("diffusion_H512L6C128D2_20260223_203349", true),
            ("diffusion_H512L6C128D2_20260301_000000", true),
            ("diffusion_H512L6C128D2_20260223_203348", false),
            ("diffusion_H512L2C128D2_20260223_203400", false),
            ("weighted_mlm_H512L6C128D2_20260223_203400", false),
            ("diffusion_H512L6C128D2", true),
        ] {
            assert_eq!(begun.can_be(&RunId::new(run), time), expected, "{run}");
        }
    }
}
