//! Alarms on whole families of trainings, healthy and sick, with seeds that stay the same.

use std::fmt::Write as _;

use super::super::{LogItem, ShellLogParser, Thresholds};

const SEEDS: u64 = 20;
const LINES: usize = 240;

/// Random numbers (Knuth's MMIX generator), uniform from -1 to 1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).unwrap()) / f64::from(u32::MAX) * 2.0 - 1.0
    }

    /// Returns a line between the first and the last fifth.
    fn place(&mut self) -> usize {
        let share = self.next().abs() * 0.6 + 0.2;
        (0..LINES).find(|line| f64::from(u32::try_from(*line).unwrap()) >= share * 240.0).unwrap()
    }
}

/// What one line of training prints, and the evaluation behind it.
#[derive(Clone)]
struct Line {
    loss: f64,
    norm: f64,
    evaluation: Option<f64>,
}

/// A training that goes well: losses fall from 8.5 toward 2, with noise; the gradient norms too.
fn well(random: &mut Random) -> Vec<Line> {
    (0_u32..)
        .take(LINES)
        .map(|line| {
            let falling = 2.0 + 6.5 * (-f64::from(line) / 40.0).exp();
            Line {
                loss: falling * (1.0 + 0.08 * random.next()),
                norm: 1.5 * (1.0 + 0.5 * random.next()),
                evaluation: (line % 20 == 19).then(|| falling * (1.0 + 0.04 * random.next())),
            }
        })
        .collect()
}

/// A family: its name, what becomes of a training that goes well, and the alarms that are due.
type Family = (&'static str, fn(&mut Random, &mut [Line]), &'static [&'static str]);

const FAMILIES: [Family; 17] = [
    ("noise", |_, _| {}, &[]),
    (
        "spikes that recover",
        |random, lines| {
            for _ in 0..6 {
                let place = random.place();
                lines[place].loss *= 6.0;
                lines[place].norm *= 500.0;
            }
            let place = random.place();
            lines[place..place + 2].iter_mut().for_each(|line| line.loss *= 1.4);
        },
        &[],
    ),
    (
        "cosine restarts",
        |_, lines| {
            for (line, at) in lines.iter_mut().zip(0_u32..) {
                let since_restart = f64::from(at % 60);
                line.loss *= 1.0 + 0.35 * (-since_restart / 6.0).exp();
                line.norm *= 1.0 + 4.0 * (-since_restart / 6.0).exp();
            }
        },
        &[],
    ),
    (
        "warm-up",
        |_, lines| {
            for (line, at) in lines.iter_mut().zip(0_u32..) {
                line.loss *= 1.0 + 0.3 * (-f64::from(at) / 5.0).exp();
                line.norm *= 1.0 + 60.0 * (-f64::from(at) / 5.0).exp();
            }
        },
        &[],
    ),
    (
        "slow rise",
        |_, lines| {
            for (line, at) in lines.iter_mut().zip(0_u32..) {
                line.loss *= 1.0 + 0.2 * f64::from(at) / 240.0;
                line.evaluation = line.evaluation.map(|loss| loss * (1.0 + f64::from(at) / 480.0));
            }
        },
        &[],
    ),
    (
        "plateau",
        |random, lines| {
            for line in lines {
                line.loss = 6.9 * (1.0 + 0.03 * random.next());
                line.evaluation = line.evaluation.map(|_| 6.9);
            }
        },
        &[],
    ),
    ("mixed precision begins", |_, lines| lines[..4].iter_mut().for_each(|l| l.norm *= 9.0), &[]),
    (
        "exponential divergence",
        |random, lines| {
            let place = random.place();
            let mut factor = 1.0;
            for line in &mut lines[place..] {
                factor *= 1.15;
                line.loss *= factor;
            }
        },
        &["divergence"],
    ),
    (
        "step",
        |random, lines| {
            let place = random.place().max(100);
            lines[place..].iter_mut().for_each(|line| line.loss *= 5.0);
        },
        &["divergence"],
    ),
    (
        "step with its evaluations",
        |random, lines| {
            for line in &mut lines[random.place().max(100)..] {
                line.loss *= 6.0;
                line.evaluation = line.evaluation.map(|loss| loss * 6.0);
            }
        },
        &["divergence", "divergence"],
    ),
    (
        "evaluations run away",
        |_, lines| {
            for line in &mut lines[150..] {
                line.evaluation = line.evaluation.map(|loss| loss * 5.0);
            }
        },
        &["divergence"],
    ),
    (
        "gradient explosion",
        |random, lines| {
            let place = random.place();
            lines[place..place + 12].iter_mut().for_each(|line| line.norm *= 1e3);
        },
        &["divergence"],
    ),
    (
        "two gradient explosions",
        |_, lines| {
            lines[60..70].iter_mut().for_each(|line| line.norm *= 1e3);
            lines[160..170].iter_mut().for_each(|line| line.norm *= 1e3);
        },
        &["divergence", "divergence"],
    ),
    (
        "divergence that flickers",
        |_, lines| {
            lines[120..].iter_mut().for_each(|line| line.loss *= 7.0);
            for at in [130, 135, 136, 150] {
                lines[at].loss /= 7.0;
            }
        },
        &["divergence"],
    ),
    (
        "NaN",
        |random, lines| {
            for line in &mut lines[random.place()..] {
                (line.loss, line.norm) = (f64::NAN, f64::NAN);
                line.evaluation = line.evaluation.map(|_| f64::NAN);
            }
        },
        &["non_finite"],
    ),
    (
        "NaN behind a filter",
        |random, lines| {
            for line in &mut lines[random.place()..] {
                (line.loss, line.norm) = (0.0, f64::NAN);
            }
        },
        &["non_finite"],
    ),
    (
        "explosion to infinity",
        |_, lines| {
            let mut factor = 1.0;
            for line in &mut lines[120..] {
                factor *= 30.0;
                line.loss *= factor;
            }
            lines[200..].iter_mut().for_each(|line| line.loss = f64::INFINITY);
        },
        &["divergence", "non_finite"],
    ),
];

fn alarms(lines: &[Line]) -> Vec<(&'static str, u64)> {
    let mut log = String::new();
    for line in lines {
        let Line { loss, norm, .. } = line;
        writeln!(log, "{{'loss': {loss}, 'grad_norm': {norm}, 'epoch': 0.1}}").unwrap();
        if let Some(loss) = line.evaluation {
            writeln!(log, "{{'eval_loss': {loss}, 'epoch': 0.1}}").unwrap();
        }
    }
    let log = log.replace("NaN", "nan");
    let thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };
    let items = ShellLogParser::new(thresholds).push(log.as_bytes());
    let metrics = items.iter().filter(|item| matches!(item, LogItem::Metric { .. })).count();
    assert_eq!(metrics, log.lines().count(), "every line is read");
    let failures = items.into_iter().filter_map(|item| match item {
        LogItem::Failure { failure, .. } => Some((failure.class.as_str(), failure.line)),
        _ => None,
    });
    failures.collect()
}

#[test]
fn healthy_families_are_silent_and_sick_ones_are_not() {
    let mut wrong = Vec::new();
    println!("{:<28} {:>5} {:>6} {:>6}", "family", "due", "missed", "false");
    for (name, change, due) in FAMILIES {
        let (mut missed, mut too_many) = (0, 0);
        for seed in 0..SEEDS {
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
            let mut lines = well(&mut random);
            change(&mut random, &mut lines);
            let mut told: Vec<&str> = alarms(&lines).into_iter().map(|(class, _)| class).collect();
            for class in due {
                match told.iter().position(|one| one == class) {
                    Some(place) => {
                        told.remove(place);
                    }
                    None => missed += 1,
                }
            }
            too_many += told.len();
        }
        println!("{name:<28} {:>5} {missed:>6} {too_many:>6}", due.len() as u64 * SEEDS);
        if missed + too_many > 0 {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "wrong alarms in: {}", wrong.join(", "));
}

/// The first line of evidence is where the trouble began, not where it was certain.
#[test]
fn alarms_name_the_line_where_it_began() {
    let mut lines = well(&mut Random(1));
    for line in &mut lines {
        line.evaluation = None;
    }
    lines[100..].iter_mut().for_each(|line| line.loss *= 8.0);
    lines[120..124].iter_mut().for_each(|line| line.norm *= 1e3);
    assert_eq!(alarms(&lines), [("divergence", 101), ("divergence", 121)]);
}
