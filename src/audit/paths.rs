//! Where a document's links lead.

/// What a link's target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Something on the web, or another program's business.
    Outside,
    /// A place outside of the project's root.
    AboveRoot,
    /// A file or folder relative to the root, and the place in it.
    Inside(String, Option<String>),
}

/// Resolves a link as GitHub does: relative to the document's folder, with a leading `/` relative to
/// the root.
pub(super) fn resolve(document: &str, target: &str) -> Target {
    let scheme = target.split_once(':').map(|(scheme, _)| scheme);
    let is_scheme = |scheme: &str| {
        scheme.len() > 1
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
    };
    if scheme.is_some_and(is_scheme) || target.starts_with("//") {
        return Target::Outside;
    }
    let (path, fragment) = match target.split_once('#') {
        Some((path, fragment)) => (path, Some(decoded(fragment))),
        None => (target, None),
    };
    let path = decoded(path.split('?').next().unwrap_or_default());
    if path.is_empty() {
        return Target::Inside(document.to_owned(), fragment);
    }
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let start = if path.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Target::AboveRoot;
                }
            }
            part => parts.push(part),
        }
    }
    Target::Inside(parts.join("/"), fragment)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|two| str::from_utf8(two).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let (b'%', Some(byte)) = (first, byte) {
            bytes.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_from_their_document() {
        let document = "docs/2_Experiments/log.md";
        let inside = |path: &str, place: Option<&str>| {
            Target::Inside(path.to_owned(), place.map(str::to_owned))
        };
        for (target, expected) in [
            ("run_reports/a%20b.md", inside("docs/2_Experiments/run_reports/a b.md", None)),
            ("../../CHANGELOG.md#x-y", inside("CHANGELOG.md", Some("x-y"))),
            ("/nn/model.py?plain=1", inside("nn/model.py", None)),
            ("#part", inside(document, Some("part"))),
            ("./a/../b.md", inside("docs/2_Experiments/b.md", None)),
            ("../../../x.md", Target::AboveRoot),
            ("https://wandb.ai/x", Target::Outside),
            ("mailto:a@b", Target::Outside),
            ("//host/x", Target::Outside),
            ("100%.md", inside("docs/2_Experiments/100%.md", None)),
        ] {
            assert_eq!(resolve(document, target), expected, "{target}");
        }
    }
}
