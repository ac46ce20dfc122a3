//! Pure. The discipline of experiment tracking: what its files say, and what is wrong with them.

pub mod scripts;
