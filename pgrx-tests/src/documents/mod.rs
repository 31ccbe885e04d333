//! The Markdown documents of the repository.

pub mod blocks;
pub mod book;
pub mod links;
pub mod speaker;
pub mod statements;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Texts by their path from the top.
pub type Documents = BTreeMap<String, String>;

/// The documents at the top, all that is directly in docs/, and those of the examples.
pub fn read(root: &Path) -> Result<Documents> {
    let top = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"];
    let mut names = Vec::from(top.map(str::to_owned));
    for name in inside(root, "docs")? {
        if name.ends_with(".md") {
            names.push(name);
        }
    }
    names.push("examples/README.md".to_owned());
    for name in inside(root, "examples")? {
        if root.join(&name).is_dir() {
            names.push(format!("{name}/README.md"));
        }
    }
    let mut documents = Documents::new();
    for name in names {
        let text =
            fs::read_to_string(root.join(&name)).with_context(|| format!("reading {name}"))?;
        documents.insert(name, text);
    }
    Ok(documents)
}

/// What is directly in a directory, by its path from the top.
fn inside(root: &Path, directory: &str) -> Result<Vec<String>> {
    let reading = || format!("reading {directory}");
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join(directory)).with_context(reading)? {
        let name = entry.with_context(reading)?.file_name().to_string_lossy().into_owned();
        names.push(format!("{directory}/{name}"));
    }
    Ok(names)
}
