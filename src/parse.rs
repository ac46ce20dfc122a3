//! Pure. Bytes to facts: what configurations, trainer states, weights headers and analysis reports
//! say. Every parser is total: whatever the bytes are, the answer is a value or a stated problem.

pub mod checkpoint;
pub mod json;
pub mod report;
pub mod weights;

#[cfg(test)]
mod captures;
