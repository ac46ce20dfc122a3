//! Words whose value may be unknown, and the variables of a script.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What all uses of variables may come to in one script, in bytes: one that is made of itself twice
/// doubles with each line.
const MOST: usize = 8 << 20;
/// Characters of a reason that a person needs.
const LONGEST_REASON: usize = 200;
/// Longer paths than this the system itself refuses.
const LONGEST_PATH: usize = 4096;

/// A word of a command, as far as reading tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Word {
    /// Its text; what is not known of it is `…`.
    pub(super) text: String,
    /// Why it is not known as a whole.
    pub(super) unknown: Option<String>,
}

impl Word {
    pub(super) fn known(text: impl Into<String>) -> Self {
        Self { text: text.into(), unknown: None }
    }

    pub(super) fn unknown(reason: impl Into<String>) -> Self {
        let mut reason: String = reason.into();
        if let Some((end, _)) = reason.char_indices().nth(LONGEST_REASON) {
            reason.truncate(end);
            reason.push('…');
        }
        Self { text: "…".to_owned(), unknown: Some(reason) }
    }

    pub(super) fn push(&mut self, other: &Self) {
        self.text.push_str(&other.text);
        if self.unknown.is_none() {
            self.unknown.clone_from(&other.unknown);
        }
    }

    /// Returns the text if all of it is known.
    pub(super) fn value(&self) -> Option<&str> {
        self.unknown.is_none().then_some(self.text.as_str())
    }

    pub(super) fn result(&self) -> Result<String, String> {
        match &self.unknown {
            None => Ok(self.text.clone()),
            Some(reason) => Err(reason.clone()),
        }
    }
}

/// The variables of a script at one place, in the order of its lines, and the folder that it stands
/// in.
///
/// What is set inside a block (a condition, a loop, a function, a subshell) holds until its end;
/// behind it the variable is unknown, unless it has the same value as before, and the folder is the
/// one from before.
#[derive(Debug)]
pub(super) struct Variables {
    /// Relative to the root; empty for the root itself.
    pub(super) folder: Rc<str>,
    /// The folders that `pushd` left.
    pushed: Vec<Rc<str>>,
    values: BTreeMap<String, Vec<Word>>,
    blocks: Vec<Block>,
    /// What is left of [`MOST`].
    left: Cell<usize>,
}

impl Default for Variables {
    fn default() -> Self {
        Self {
            folder: "".into(),
            pushed: Vec::new(),
            values: BTreeMap::new(),
            blocks: Vec::new(),
            left: Cell::new(MOST),
        }
    }
}

#[derive(Debug)]
struct Block {
    /// The folder before it.
    folder: Rc<str>,
    /// What the variables that were set inside held before it.
    before: BTreeMap<String, Option<Vec<Word>>>,
    /// Variables whose value behind the block depends on it.
    differing: BTreeSet<String>,
}

impl Variables {
    /// Returns the value; `None` for a variable that the script does not set.
    pub(super) fn get(&self, name: &str) -> Option<Vec<Word>> {
        let value = self.values.get(name)?;
        Some(if self.can_afford(value) { value.clone() } else { vec![too_large()] })
    }

    /// Takes a copy of these words off what is left.
    fn can_afford(&self, words: &[Word]) -> bool {
        let left = self.left.get();
        let size = |word: &Word| {
            size_of::<Word>() + word.text.len() + word.unknown.as_ref().map_or(0, String::len)
        };
        let rest = (left > 0).then(|| left.checked_sub(words.iter().map(size).sum())).flatten();
        self.left.set(rest.unwrap_or_default());
        rest.is_some()
    }

    pub(super) fn set(&mut self, name: &str, value: Vec<Word>) {
        let before = self.values.insert(name.to_owned(), value);
        if let Some(block) = self.blocks.last_mut() {
            block.before.entry(name.to_owned()).or_insert(before);
        }
    }

    /// Adds to a list.
    pub(super) fn append(&mut self, name: &str, more: Vec<Word>) {
        let is_kept = self.blocks.last().is_none_or(|block| block.before.contains_key(name));
        if is_kept {
            self.values.entry(name.to_owned()).or_default().extend(more);
            return;
        }
        let mut value = self.get(name).unwrap_or_default();
        value.extend(more);
        self.set(name, value);
    }

    pub(super) fn depth(&self) -> usize {
        self.blocks.len()
    }

    /// Goes where `cd`, `pushd` and `popd` go, as far as reading tells it.
    pub(super) fn change_folder(&mut self, words: &[Word]) {
        let name = words.first().and_then(Word::value).map(str::to_ascii_lowercase);
        let target = words.iter().skip(1).find(|word| !word.text.starts_with('-'));
        let target = target.and_then(Word::value).unwrap_or_default();
        match name.as_deref() {
            Some("cd" | "set-location") => self.enter(target),
            Some("pushd" | "push-location") => {
                self.pushed.push(Rc::clone(&self.folder));
                self.enter(target);
            }
            Some("popd" | "pop-location") => {
                self.folder = self.pushed.pop().unwrap_or_else(|| "".into());
            }
            _ => {}
        }
    }

    fn enter(&mut self, folder: &str) {
        if !folder.is_empty() && self.folder.len() + folder.len() < LONGEST_PATH {
            self.folder = joined(&self.folder, folder).into();
        }
    }

    pub(super) fn open(&mut self) {
        let folder = Rc::clone(&self.folder);
        self.blocks.push(Block { folder, before: BTreeMap::new(), differing: BTreeSet::new() });
    }

    /// Begins another branch of the innermost block.
    pub(super) fn branch(&mut self) {
        let Some(mut block) = self.blocks.pop() else { return };
        self.restore(&mut block);
        self.blocks.push(block);
    }

    /// Ends the innermost block.
    pub(super) fn close(&mut self) {
        let Some(mut block) = self.blocks.pop() else { return };
        self.restore(&mut block);
        for name in block.differing {
            let reason = format!("`{name}` is set under a condition");
            self.set(&name, vec![Word::unknown(reason)]);
        }
    }

    fn restore(&mut self, block: &mut Block) {
        self.folder = Rc::clone(&block.folder);
        for (name, before) in std::mem::take(&mut block.before) {
            if self.values.get(&name) != before.as_ref() {
                block.differing.insert(name.clone());
            }
            match before {
                Some(before) => self.values.insert(name, before),
                None => self.values.remove(&name),
            };
        }
    }
}

fn too_large() -> Word {
    Word::unknown("the script's variables come to too much to be followed")
}

/// Joins folders and a file name as a path relative to the root, without `.` and `..` where they
/// can be resolved. An absolute path stays one.
pub(super) fn joined(folder: &str, path: &str) -> String {
    let path = path.replace('\\', "/");
    let is_absolute = path.starts_with('/') || path.get(1..3) == Some(":/");
    let whole = if is_absolute || folder.is_empty() { path } else { format!("{folder}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    let relative = parts.join("/");
    if whole.starts_with('/') { format!("/{relative}") } else { relative }
}

/// Returns the folder that is `up` levels above a path.
pub(super) fn above(path: &str, up: usize) -> String {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    parts.truncate(parts.len().saturating_sub(up));
    parts.join("/")
}
