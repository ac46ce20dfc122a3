//! A model of logs and of what happens to them: whatever that is and whenever the tail looks or is
//! killed, each log says in the end what one pass over its file says.

use proptest::prelude::*;

use super::*;

/// Something that happens to one of three logs, or to the tail.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// So many lines are written.
    Lines(usize, usize),
    /// A part of a line is written.
    Part(usize),
    /// More than a piece is written at once.
    Storm(usize),
    /// The log is renamed, as rotation does; a new one begins with its next lines.
    Rotate(usize),
    /// The log is copied and truncated, as rotation does for programs that cannot reopen it.
    CopyTruncate(usize),
    /// The log is truncated and written anew.
    Rewrite(usize),
    /// The log is deleted, and another one takes its name.
    Recreate(usize),
    /// The tail looks.
    Look,
    /// The tail is killed; what it told last may not have been recorded.
    Kill(bool),
    /// Long nothing happens.
    Rest,
}

fn happening() -> impl Strategy<Value = Happening> {
    let log = 0_usize..3;
    prop_oneof![
        6 => (log.clone(), 1_usize..8).prop_map(|(log, count)| Happening::Lines(log, count)),
        2 => log.clone().prop_map(Happening::Part),
        1 => log.clone().prop_map(Happening::Storm),
        2 => log.clone().prop_map(Happening::Rotate),
        2 => log.clone().prop_map(Happening::CopyTruncate),
        1 => log.clone().prop_map(Happening::Rewrite),
        1 => log.prop_map(Happening::Recreate),
        4 => Just(Happening::Look),
        2 => any::<bool>().prop_map(Happening::Kill),
        1 => Just(Happening::Rest),
    ]
}

/// The logs with what tells their lines apart.
struct Model {
    project: ByHand,
    next: usize,
    rotated: usize,
}

impl Model {
    fn write(&mut self, log: usize, count: usize) {
        let text = lines(self.next..self.next + count);
        self.next += count;
        self.project.append(&name(log), &text);
    }

    /// Brings everything to rest, where what happens next would rightly lose what is unread.
    fn settle(&mut self) {
        self.project.turn();
    }

    fn happens(&mut self, what: Happening) {
        match what {
            Happening::Lines(log, count) => self.write(log, count),
            Happening::Part(log) => {
                let text = line(self.next).into_bytes();
                self.next += 1;
                self.project.append(&name(log), &text[..text.len() / 2]);
            }
            Happening::Storm(log) => self.write(log, 15_000),
            Happening::Rotate(log) => {
                self.rotated += 1;
                let to = format!("{}.{}", name(log), self.rotated);
                // There may be nothing to rotate.
                drop(fs::rename(self.project.path(&name(log)), self.project.path(&to)));
            }
            Happening::CopyTruncate(log) => {
                self.rotated += 1;
                let (from, to) = (name(log), format!("{}.{}", name(log), self.rotated));
                let (from, to) = (self.project.path(&from), self.project.path(&to));
                if fs::copy(&from, to).is_ok() {
                    OpenOptions::new().write(true).open(from).unwrap().set_len(0).unwrap();
                }
            }
            Happening::Rewrite(log) => {
                self.settle();
                let text = lines(self.next..self.next + 2);
                self.next += 2;
                fs::write(self.project.path(&name(log)), text).unwrap();
            }
            Happening::Recreate(log) => {
                self.settle();
                drop(fs::remove_file(self.project.path(&name(log))));
                self.write(log, 2);
            }
            Happening::Look => drop(self.project.one_turn()),
            Happening::Kill(is_recorded) => {
                let told = self.project.turn_unrecorded();
                if is_recorded {
                    for event in &told {
                        self.project.recorded.take_in(event);
                    }
                }
                self.project.restart();
            }
            Happening::Rest => self.project.now += Duration::from_mins(11),
        }
    }

    /// Every file is one log that says what one pass over it says, and there is no other log.
    fn check(&mut self) {
        self.project.now += Duration::from_mins(1);
        self.project.turn();
        let mut written: Vec<String> = fs::read_dir(self.project.root.join("logs"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.metadata().unwrap().len() > 0)
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        written.sort();
        assert_eq!(self.project.names(), written);
        for name in &written {
            self.project.assert_read(name);
        }
        assert_eq!(self.project.turn(), [], "nothing is told that is not new");
    }
}

fn name(log: usize) -> String {
    format!("{log}.log")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn each_log_says_in_the_end_what_one_pass_says(
        all in prop::collection::vec(happening(), 1..40),
    ) {
        let mut model = Model { project: ByHand::new(), next: 0, rotated: 0 };
        for what in all {
            model.happens(what);
        }
        model.check();
    }
}
