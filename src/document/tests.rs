//! Tests of whole edits: what `apply` and `contains` do to logs as people write them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

mod captures;
mod cells;
mod compare;
mod evaluations;
mod failure_lines;
mod machines;
mod notes;
mod observation_rows;
mod odd_files;
mod oracle;
mod pending_rows;
mod properties;
mod reports;
mod run_rows;
mod support;
