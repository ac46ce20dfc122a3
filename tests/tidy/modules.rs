//! The tree of modules: which files a crate's root reaches, and which of them are tests.

use std::collections::BTreeMap;

use syn::{Attribute, Expr, ExprLit, Item, ItemMod, Lit, Meta};

use super::source::{Source, is_for_tests};

/// Files by path, and whether they are reached through a `#[cfg(test)]` module.
pub(crate) type Reached = BTreeMap<String, bool>;

/// Returns the files that the given roots reach, the roots included.
pub(crate) fn reached_from(roots: &[String], sources: &BTreeMap<String, Source>) -> Reached {
    let mut reached = Reached::new();
    let mut pending: Vec<File> =
        roots.iter().map(|root| File { path: root.clone(), root: true, test: false }).collect();
    while let Some(file) = pending.pop() {
        if reached.insert(file.path.clone(), file.test).is_some() {
            continue;
        }
        // A file that does not parse is reported as that.
        let Some(source) = sources.get(&file.path) else { continue };
        let mut folder = Folder::of(&file);
        children(&source.syntax.items, &mut folder, file.test, &mut pending);
    }
    reached
}

struct File {
    path: String,
    /// Whether its children stand beside it and not in a folder of its name.
    root: bool,
    test: bool,
}

/// Where the modules of a file are looked for.
struct Folder {
    /// The folder that the file stands in; `#[path]` begins there.
    of_file: String,
    /// The folder that its child modules stand in.
    of_children: String,
}

impl Folder {
    fn of(file: &File) -> Self {
        let of_file = file.path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        let of_children = if file.root {
            of_file.clone()
        } else {
            file.path.strip_suffix(".rs").unwrap_or(&file.path).to_owned()
        };
        Self { of_file, of_children }
    }
}

fn children(items: &[Item], folder: &mut Folder, test: bool, pending: &mut Vec<File>) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let test = test || is_for_tests(&module.attrs);
        if let Some((_, inner)) = &module.content {
            let outside = folder.of_children.clone();
            folder.of_children = format!("{outside}/{}", module.ident);
            children(inner, folder, test, pending);
            folder.of_children = outside;
        } else {
            pending.push(file_of(module, folder, test));
        }
    }
}

fn file_of(module: &ItemMod, folder: &Folder, test: bool) -> File {
    match path_attribute(&module.attrs) {
        // A file that is named by its path owns the folder it stands in, as a root does.
        Some(path) => File { path: joined(&folder.of_file, &path), root: true, test },
        None => {
            File { path: format!("{}/{}.rs", folder.of_children, module.ident), root: false, test }
        }
    }
}

/// Returns the path that `#[path = "…"]` names.
pub(crate) fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if pair.path.is_ident("path") => {
                Some(text.value())
            }
            _ => None,
        }
    })
}

fn joined(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            name => parts.push(name),
        }
    }
    parts.join("/")
}
