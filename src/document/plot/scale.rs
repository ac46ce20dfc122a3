//! From values to pixels, and the round numbers beside an axis.

/// Tick marks that are wanted on an axis.
const TICKS: f64 = 5.0;

/// An axis: a range of values and the pixels at its two ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    pixels: (f64, f64),
}

impl Scale {
    /// Makes the axis of steps, which begins at 0.
    pub(super) fn of_steps(steps: impl Iterator<Item = u64>, pixels: (f64, f64)) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^52")]
        let high = steps.max().unwrap_or(0).max(1) as f64;
        Self { low: 0.0, high, pixels }
    }

    /// Makes the axis of some values, which need not be finite, with room at its ends.
    pub(super) fn of_values(
        values: impl Iterator<Item = f64>,
        from_zero: bool,
        pixels: (f64, f64),
    ) -> Self {
        let (mut low, mut high) = values
            .filter(|value| value.is_finite())
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let room = ((high - low) * 0.08).max(high.abs() * 0.02).max(f64::MIN_POSITIVE);
        low = if from_zero && low >= 0.0 { 0.0 } else { low - room };
        // The ends of what a number can be have no room.
        Self { low: low.max(f64::MIN), high: (high + room).min(f64::MAX), pixels }
    }

    /// Returns the pixel of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        // Halves, since the whole range of two huge values is infinite.
        let share = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        let (first, last) = self.pixels;
        first + share.clamp(0.0, 1.0) * (last - first)
    }

    /// Returns round values inside the range with their texts.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let wanted = self.high / TICKS - self.low / TICKS;
        let power = 10_f64.powf(wanted.log10().floor());
        let unit = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
        let step = unit.into_iter().find(|step| *step >= wanted).unwrap_or(wanted);
        let first = (self.low / step).ceil();
        (0..20_u8)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|value| *value <= self.high)
            .filter(|value| value.is_finite())
            .map(|value| (value, text(value, step)))
            .collect()
    }
}

/// Prints a value with the decimals that its neighbors differ in.
fn text(value: f64, step: f64) -> String {
    if !(1e-4..1e6).contains(&step) {
        return format!("{value:.1e}");
    }
    let decimals = [1.0, 0.1, 0.01, 0.001].iter().take_while(|unit| step < **unit * 0.999).count();
    format!("{:.decimals$}", value + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        let check = |low: f64, high: f64, expected: &[&str]| {
            let scale = Scale { low, high, pixels: (0.0, 1.0) };
            let texts: Vec<String> = scale.ticks().into_iter().map(|(_, text)| text).collect();
            assert_eq!(texts, expected, "{low} to {high}");
        };
        check(0.0, 60.0, &["0", "20", "40", "60"]);
        check(0.0, 12_000.0, &["0", "5000", "10000"]);
        check(2.4, 2.85, &["2.4", "2.5", "2.6", "2.7", "2.8"]);
        check(0.0012, 0.0041, &["0.002", "0.003", "0.004"]);
        check(-1.0, 1.0, &["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
        check(0.0, 4e9, &["0.0e0", "1.0e9", "2.0e9", "3.0e9", "4.0e9"]);
    }

    #[test]
    fn every_value_has_a_pixel_inside_the_panel() {
        for values in [
            vec![],
            vec![0.0],
            vec![-5.0],
            vec![f64::NAN, f64::INFINITY],
            vec![f64::MIN, f64::MAX],
            vec![1e-300, 2e-300],
            vec![3.0, 3.0],
        ] {
            for from_zero in [true, false] {
                let scale = Scale::of_values(values.iter().copied(), from_zero, (180.0, 40.0));
                assert!(scale.ticks().len() <= 20);
                for value in values.iter().filter(|value| value.is_finite()) {
                    let y = scale.at(*value);
                    assert!((40.0..=180.0).contains(&y), "{values:?}: {value} at {y}");
                }
            }
        }
    }
}
