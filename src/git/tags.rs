//! The names of tags, read from git's own files.

use std::path::Path;

use crate::model::ids::RunId;

/// Larger files of packed references are not read.
const LONGEST: u64 = 64 << 20;
/// Folders below `refs/tags/train` that are gone through, at most.
const DEEPEST: usize = 4;

/// Returns the one tag `train/…` that is of this run: of its whole id, else of its id without the
/// time of day, `train/<run id without stamp>_<YYYYMMDD>`. Of several none is known to be the one.
pub(super) fn of_run(common: &Path, run: &RunId) -> Option<String> {
    let names = train_tags(common);
    let whole = format!("train/{run}");
    let day = run.stamp().and_then(|stamp| {
        let date = stamp.strftime("%Y%m%d").to_string();
        let end = run.as_str().rfind(&format!("_{date}_"))?;
        Some(format!("train/{}_{date}", run.as_str().get(..end)?))
    });
    [Some(whole), day].into_iter().flatten().find_map(|wanted| one_that_begins(&names, &wanted))
}

/// A second start on a day has `-2` at its end.
fn one_that_begins(names: &[String], wanted: &str) -> Option<String> {
    let is_of = |name: &&String| {
        let rest = name.strip_prefix(wanted);
        rest.is_some_and(|rest| {
            let number = rest.strip_prefix('-').unwrap_or(rest);
            rest.is_empty() || number.len() < rest.len() && is_number(number)
        })
    };
    let mut found = names.iter().filter(is_of);
    let first = found.next()?;
    found.next().is_none().then(|| first.clone())
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn train_tags(common: &Path) -> Vec<String> {
    let mut names = packed(&common.join("packed-refs"));
    let loose = walkdir::WalkDir::new(common.join("refs/tags/train")).max_depth(DEEPEST);
    let files = loose.into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_file());
    names.extend(files.filter_map(|entry| {
        let name = entry.path().strip_prefix(common.join("refs/tags")).ok()?.to_str()?;
        // Git writes a reference beside its place first.
        name.strip_suffix(".lock").is_none().then(|| name.to_owned())
    }));
    names.sort();
    names.dedup();
    names
}

/// Source of the form: git's `refs/packed-backend.c`.
fn packed(path: &Path) -> Vec<String> {
    let is_short = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LONGEST);
    let text = if is_short { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    let text = String::from_utf8_lossy(&text);
    let names = text.lines().filter_map(|line| line.split_once(" refs/tags/"));
    names.filter(|(_, name)| name.starts_with("train/")).map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_a_run_is_known_when_there_is_exactly_one() {
        let run = RunId::new("diffusion_H512L2_20260223_203349");
        for (loose, packed, expected) in [
            (&["train/diffusion_H512L2_20260223"][..], "", Some("train/diffusion_H512L2_20260223")),
            (&[], "train/diffusion_H512L2_20260223-2", Some("train/diffusion_H512L2_20260223-2")),
            (&["train/diffusion_H512L2_20260223"], "train/diffusion_H512L2_20260223-2", None),
            (
                &["train/diffusion_H512L2_20260223"],
                "train/diffusion_H512L2_20260223_203349",
                Some("train/diffusion_H512L2_20260223_203349"),
            ),
            // One reference may stand in both places.
            (
                &["train/diffusion_H512L2_20260223"],
                "train/diffusion_H512L2_20260223",
                Some("train/diffusion_H512L2_20260223"),
            ),
            (
                &["train/diffusion_H512L2_20260224", "arch/x", "train/diffusion_H512L2_202602230"],
                "",
                None,
            ),
            (&["train/diffusion_H512L2_20260223.lock"], "train/diffusion_H512L2_20260223x", None),
            (&[], "", None),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for name in loose {
                let path = folder.path().join("refs/tags").join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, "54ee870\n").unwrap();
            }
            let text = format!("# pack-refs with: peeled\n54ee870 refs/tags/{packed}\n^1234567\n");
            std::fs::write(folder.path().join("packed-refs"), text).unwrap();
            assert_eq!(of_run(folder.path(), &run).as_deref(), expected, "{loose:?} {packed}");
        }
    }
}
