//! Pure. The embedded probe: numbers from a concept embedding matrix, its report in the analysis
//! program's own forms, and synthetic checkpoints for the
//! demo.
//!
//! The probe measures *weights*. Weights are not representations: while the representations of a
//! run collapse, the rank of its embedding may not move at all. That is why its rank has a name of
//! its own, `embedding_weight_rank`, and is never compared with an analysis' rank.

pub mod matrix;
pub mod report;
pub mod spectrum;
pub mod synthetic;

pub use matrix::{ConceptMatrix, MatrixError};
pub use report::{Subject, json_report, text_report};
pub use spectrum::{ProbeNumbers, measure};
