//! Values that must never be stored or shown.

use std::fmt;

/// Secret values, as the environment holds them; longer ones first, so that one which contains
/// another is found whole. Never printed, not even for debugging.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Takes values in; empty ones are none.
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let mut values: Vec<String> =
            values.into_iter().filter(|value| !value.is_empty()).collect();
        values.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        values.dedup();
        Self(values)
    }

    /// Returns the values, longer ones first.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} secrets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_values_come_first_and_none_is_printed() {
        let secrets = Secrets::new(["abc", "", "abcdef", "abc"].map(str::to_owned));
        assert_eq!(secrets.values().collect::<Vec<_>>(), ["abcdef", "abc"]);
        assert_eq!(format!("{secrets:?}"), "2 secrets");
    }
}
