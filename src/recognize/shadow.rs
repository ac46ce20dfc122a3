//! Rank shadows: folders that the other processes of a distributed training left behind.

use jiff::SignedDuration;
use jiff::civil::DateTime;

use super::completeness::{NO_CONFIG, NO_WEIGHTS};
use crate::model::checkpoint::{CheckpointSighting, Condition, RunSighting};
use crate::model::ids::RunId;

/// How far the stamps of one training's processes lie apart at most, in seconds.
const LARGEST_STAMP_DISTANCE: u64 = 15 * 60;

/// Returns whether any checkpoint of a run has weights or a configuration, whole or not.
pub fn holds_model(sighting: &RunSighting) -> bool {
    sighting.checkpoints.iter().any(checkpoint_holds_model)
}

fn checkpoint_holds_model(checkpoint: &CheckpointSighting) -> bool {
    match &checkpoint.condition {
        Condition::Incomplete { missing } => {
            let lacks = |phrase: &str| missing.iter().any(|missing| missing == phrase);
            !(lacks(NO_CONFIG) && lacks(NO_WEIGHTS))
        }
        _ => true,
    }
}

/// Returns the first and the last id, in order, that a sibling of this run can have: the same base
/// with a stamp at most 15 minutes earlier or later.
pub fn possible_siblings(run: &RunId) -> Option<(RunId, RunId)> {
    let (base, stamp) = run.split_stamp()?;
    let distance = SignedDuration::from_secs(i64::try_from(LARGEST_STAMP_DISTANCE).ok()?);
    let id = |stamp: DateTime| RunId::new(format!("{base}_{}", stamp.strftime("%Y%m%d_%H%M%S")));
    Some((id(stamp.saturating_sub(distance)), id(stamp.saturating_add(distance))))
}

/// Returns the run that this one is a shadow of, if it is one.
///
/// Each process of a distributed training may form its own run id from its own clock and leave a
/// folder with nothing but random states and tokenizer files. Such a folder has no weights and no
/// configuration anywhere, and a sibling of the same base id, stamped at most 15 minutes earlier
/// or later, has them. `siblings` are other runs, each with whether it holds a model.
pub fn rank_shadow<'run>(
    run: &RunId,
    has_weights_or_config: bool,
    siblings: impl IntoIterator<Item = (&'run RunId, bool)>,
) -> Option<RunId> {
    if has_weights_or_config {
        return None;
    }
    let (base, stamp) = run.split_stamp()?;
    siblings
        .into_iter()
        .filter(|(sibling, holds_model)| *holds_model && *sibling != run)
        .filter_map(|(sibling, _)| {
            let (sibling_base, sibling_stamp) = sibling.split_stamp()?;
            let distance = sibling_stamp.duration_since(stamp).as_secs().unsigned_abs();
            let fits = sibling_base == base && distance <= LARGEST_STAMP_DISTANCE;
            fits.then_some((distance, sibling))
        })
        .min()
        .map(|(_, sibling)| sibling.clone())
}
