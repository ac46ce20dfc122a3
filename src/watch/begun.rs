//! The trainings that were begun, as they are written down in the state folder.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::files::read_bounded;
use crate::model::begun::BegunTraining;

/// Longer files are none of ours, in bytes.
const LONGEST: u64 = 1 << 20;
/// A folder that changed less long ago may change again without another time of change.
const SETTLED: Duration = Duration::from_secs(2);

/// What was read last.
#[derive(Debug, Default)]
pub(super) struct BegunBook {
    changed: Option<SystemTime>,
    told: Vec<BegunTraining>,
}

impl BegunBook {
    /// Returns all trainings that were begun if they are others than before. A folder that did not
    /// change is not read again; each file in it is written once, under another name first.
    pub(super) fn read_changed(&mut self, folder: &Path) -> Option<Vec<BegunTraining>> {
        let changed = fs::metadata(folder).and_then(|folder| folder.modified()).ok();
        if changed.is_some() && changed == self.changed {
            return None;
        }
        let is_settled = changed.and_then(|time| time.elapsed().ok()).is_some_and(|a| a > SETTLED);
        self.changed = changed.filter(|_| is_settled);
        let begun = read(folder);
        if begun == self.told {
            return None;
        }
        self.told.clone_from(&begun);
        Some(begun)
    }
}

/// Reads the folder, oldest first; what cannot be read is left out with a warning.
pub fn read(folder: &Path) -> Vec<BegunTraining> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "trainings that were begun cannot be read");
            return Vec::new();
        }
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let files = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut begun: Vec<BegunTraining> = files.filter_map(|path| read_file(&path)).collect();
    begun.sort_by(|left, right| (left.time, &left.tag).cmp(&(right.time, &right.tag)));
    begun
}

fn read_file(path: &Path) -> Option<BegunTraining> {
    let read = read_bounded(path, LONGEST);
    let parsed = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
    match parsed {
        Ok(begun) => Some(begun),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, "a training that was begun cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Moment;

    #[test]
    fn what_was_begun_is_told_once_and_again_when_it_changes() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("begun");
        let mut book = BegunBook::default();
        assert_eq!(book.read_changed(&folder), None, "no folder yet");
        let begun = |run: &str, time: &str| BegunTraining {
            run: run.to_owned(),
            tag: format!("train/{run}"),
            time: Moment::parse(time).unwrap(),
            commit: "54ee870".to_owned(),
            script: "scripts/train.sh".to_owned(),
            cells: Vec::new(),
            plan: Vec::new(),
        };
        let (first, second) =
            (begun("a", "2026-02-24T00:00:00Z"), begun("b", "2026-02-23T00:00:00Z"));
        let write = |name: &str, begun: &BegunTraining| {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), serde_json::to_vec(begun).unwrap()).unwrap();
        };
        write("a.json", &first);
        assert_eq!(book.read_changed(&folder), Some(vec![first.clone()]));
        assert_eq!(book.read_changed(&folder), None);
        write("b.json", &second);
        fs::write(folder.join("c.json"), "{").unwrap();
        fs::write(folder.join("d.json.new"), "{").unwrap();
        assert_eq!(book.read_changed(&folder), Some(vec![second, first]));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(book.read_changed(&folder), Some(Vec::new()));
    }
}
