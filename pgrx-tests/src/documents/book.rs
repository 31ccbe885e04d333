//! `cargo docs`: the documents as a site in `target/book`, with every link checked.
//!
//! The documents are copied to `target/docs` with the paths that they have in the clone, so that their
//! links stay as they are; `docs/SUMMARY.md` gives the order of the pages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::links::{self, beside};
use super::{Documents, read};
use crate::setup::command::{run_logged, say};
use crate::setup::{Workspace, ensure_mdbook};

/// The order of the pages.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Checks the documents' links, builds the site, and checks the links of its pages.
pub fn run(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    let documents = read(root)?;
    let mut wrong = links::broken(&documents, |path| root.join(path).exists());
    wrong.extend(unlisted(&documents));
    refuse(&wrong)?;

    ensure_mdbook(workspace)?;
    say("Building the site");
    let (work, book) = (workspace.target().join("docs"), workspace.target().join("book"));
    for directory in [&work, &book] {
        if directory.exists() {
            fs::remove_dir_all(directory)
                .with_context(|| format!("removing {}", directory.display()))?;
        }
    }
    copy(root, &documents, &work)?;
    let mut build = Command::new(workspace.tools().join("bin/mdbook"));
    build.arg("build").arg(&work);
    run_logged(&mut build, &workspace.target().join("setup/book.log")).context("mdbook build")?;

    let pages = pages(&book)?;
    refuse(&broken_pages(&pages, |path| book.join(path).exists()))?;
    say(&format!(
        "{} documents, {} links; {} pages in {}",
        documents.len(),
        documents.values().map(|text| links::links(text).len()).sum::<usize>(),
        pages.len(),
        book.strip_prefix(root).unwrap_or(&book).display()
    ));
    Ok(())
}

fn refuse(wrong: &[String]) -> Result<()> {
    if !wrong.is_empty() {
        bail!("these links lead nowhere, or are missing:\n{}", wrong.join("\n"));
    }
    Ok(())
}

/// The documents that the order of the pages lacks.
pub fn unlisted(documents: &Documents) -> Vec<String> {
    let summary = documents.get(SUMMARY).map(String::as_str).unwrap_or_default();
    let listed: BTreeSet<String> =
        links::links(summary).into_iter().map(|(_, target)| beside(SUMMARY, &target)).collect();
    let missing = documents.keys().filter(|name| *name != SUMMARY && !listed.contains(*name));
    missing.map(|name| format!("{SUMMARY}:1: {name} is missing")).collect()
}

/// Lays out what mdBook reads: the documents, the files that they link to, and the order of the pages,
/// whose links begin at the top there.
fn copy(root: &Path, documents: &Documents, work: &Path) -> Result<()> {
    let source = work.join("src");
    write(&work.join("book.toml"), &read_bytes(&root.join("docs/book.toml"))?)?;
    let mut linked = BTreeSet::new();
    for (name, text) in documents {
        if name == SUMMARY {
            write(&source.join("SUMMARY.md"), from_the_top(text).as_bytes())?;
        } else {
            write(&source.join(name), text.as_bytes())?;
        }
        let targets = links::links(text).into_iter().map(|(_, target)| target);
        let files = targets.filter(|target| !target.contains([':', '#'])).map(|t| beside(name, &t));
        linked.extend(files.filter(|file| !documents.contains_key(file)));
    }
    for file in linked.iter().filter(|file| root.join(file).is_file()) {
        write(&source.join(file), &read_bytes(&root.join(file))?)?;
    }
    Ok(())
}

/// The order of the pages with links from the top.
fn from_the_top(summary: &str) -> String {
    let mut parts = summary.split("](");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (target, rest) = part.split_once(')').unwrap_or((part, ""));
        text += &format!("]({}){rest}", beside(SUMMARY, target));
    }
    text
}

fn read_bytes(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("reading {}", file.display()))
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    fs::write(file, bytes).with_context(|| format!("writing {}", file.display()))
}

/// The pages of a site, by their path in it. The page for what is not found has links from the site's
/// own place, which is not known.
fn pages(book: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![book.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let reading = || format!("reading {}", directory.display());
        for entry in fs::read_dir(&directory).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            let name = path.strip_prefix(book).unwrap_or(&path).to_string_lossy().into_owned();
            if path.is_dir() {
                directories.push(path);
            } else if name.ends_with(".html") && name != "404.html" {
                let text = fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
                found.insert(name, text);
            }
        }
    }
    Ok(found)
}

/// Links of pages that lead nowhere, as `page: target`.
fn broken_pages(pages: &BTreeMap<String, String>, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let ids: BTreeMap<&str, BTreeSet<&str>> = pages
        .iter()
        .map(|(name, page)| (name.as_str(), attributes(page, "id").collect()))
        .collect();
    let mut found = Vec::new();
    for (name, page) in pages {
        for target in attributes(page, "href").chain(attributes(page, "src")) {
            if target.contains(':') {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { name.clone() } else { beside(name, path) };
            let leads = exists(&file)
                && (anchor.is_empty()
                    || ids.get(file.as_str()).is_some_and(|known| known.contains(anchor)));
            if !leads {
                found.push(format!("{name}: {target}"));
            }
        }
    }
    found
}

/// The values of an attribute in a page.
fn attributes<'a>(page: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!(" {name}=\"");
    let values = page.match_indices(&begin).collect::<Vec<_>>();
    values.into_iter().filter_map(|(at, begin)| page[at + begin.len()..].split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_pages_lacks_no_document() {
        let summary = "# Summary\n\n[a](../README.md)\n- [b](b.md)\n";
        let names = ["README.md", "docs/b.md", "docs/c.md"];
        let mut documents: Documents =
            names.into_iter().map(|name| (name.to_owned(), String::new())).collect();
        documents.insert(SUMMARY.to_owned(), summary.to_owned());

        assert_eq!(unlisted(&documents), ["docs/SUMMARY.md:1: docs/c.md is missing"]);
        assert_eq!(from_the_top(summary), "# Summary\n\n[a](README.md)\n- [b](docs/b.md)\n");
    }

    #[test]
    fn links_of_pages_that_lead_nowhere_are_found() {
        let page = |text: &str| text.to_owned();
        let pages = BTreeMap::from([
            ("a.html".to_owned(), page("<h1 id=\"here\"><a class=x href=\"d/b.html#there\">")),
            (
                "d/b.html".to_owned(),
                page(
                    "<a href=\"../a.html#here\"><a href=\"../a.html#not\"><img src=\"c.svg\">\
                     <a href=\"https://example.org\"><a href=\"#there\"><p id=\"there\">",
                ),
            ),
        ]);

        let found = broken_pages(&pages, |path| pages.contains_key(path));

        assert_eq!(found, ["d/b.html: ../a.html#not", "d/b.html: c.svg"]);
    }
}
