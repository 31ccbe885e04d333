//! The links of the documents, and where they may lead.

use std::collections::{BTreeMap, BTreeSet};

use super::Documents;

/// The lines of a document, each with whether it belongs to a block of code.
pub(super) fn lines(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut fenced = false;
    text.lines().map(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        (line, fenced || is_fence)
    })
}

/// A document with spaces for code.
fn without_code(text: &str) -> String {
    let (mut in_code, mut out) = (false, String::with_capacity(text.len()));
    for (line, fenced) in lines(text) {
        // Code within a line may go on in the next one, but not in the next paragraph.
        in_code &= !line.trim().is_empty();
        for c in line.chars() {
            in_code ^= c == '`' && !fenced;
            out.push(if in_code || fenced || c == '`' { ' ' } else { c });
        }
        out.push('\n');
    }
    out
}

/// The links of a document, each with its line.
pub fn links(text: &str) -> Vec<(usize, String)> {
    let text = without_code(text);
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("](") {
        let target = text[at + mark.len()..].split([')', ' ', '\n']).next().unwrap_or_default();
        let line = text[..at].matches('\n').count() + 1;
        found.push((line, target.to_owned()));
    }
    found
}

/// The part of a link that GitHub makes of a heading.
fn slug(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let lower = heading.trim().to_lowercase();
    lower.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Where links into a document may lead: its headings, and what has an id.
pub(super) fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    for (line, _) in lines(text).filter(|(_, fenced)| !fenced) {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            let slug = slug(heading);
            let before = times.entry(slug.clone()).or_default();
            found.insert(if *before == 0 { slug } else { format!("{slug}-{before}") });
            *before += 1;
        }
        for (at, mark) in line.match_indices("<a id=\"") {
            found.extend(line[at + mark.len()..].split('"').next().map(str::to_owned));
        }
    }
    found
}

/// The path, from the top, of what a document names from its own place.
pub fn beside(document: &str, path: &str) -> String {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Whether a link to another site has the form of one.
fn is_external(target: &str) -> bool {
    let host = |rest: &str| {
        let name = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
        let part = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        name.contains('.') && name.split('.').all(part)
    };
    match target.split_once(':') {
        Some(("https" | "http", rest)) => rest.strip_prefix("//").is_some_and(host),
        Some(("mailto", rest)) => rest.split_once('@').is_some_and(|(_, name)| host(name)),
        _ => false,
    }
}

/// Links that lead nowhere, as `document:line: target`. `exists` tells of paths from the top. Of links
/// to other sites only the form is checked.
pub fn broken(documents: &Documents, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        documents.iter().map(|(name, text)| (name.as_str(), anchors(text))).collect();
    let mut found = Vec::new();
    for (document, text) in documents {
        for (line, target) in links(text) {
            if target.contains(':') {
                if !is_external(&target) {
                    found.push(format!("{document}:{line}: {target}"));
                }
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target.as_str(), ""));
            let file = if path.is_empty() { document.clone() } else { beside(document, path) };
            let leads = exists(&file)
                && (anchor.is_empty()
                    || anchors.get(file.as_str()).is_some_and(|known| known.contains(anchor)));
            if !leads {
                found.push(format!("{document}:{line}: {target}"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_found_as_github_names_them() {
        let text = "# `a_b`, and c: d!\n## Two  words\n```\n# no heading\n```\n## e\n## e\n\
                    <a id=\"f-1\"></a>\n#nor this";

        let found = anchors(text).into_iter().collect::<Vec<_>>();

        assert_eq!(found, ["a_b-and-c-d", "e", "e-1", "f-1", "two--words"]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found_and_code_is_none() {
        let documents = Documents::from([
            (
                "README.md".to_owned(),
                "[a](docs/a.md) [a\nb](docs/a.md#there) [c](docs/a.md#not-there)\n[d](docs/b.md)\n\
                 [e](https://example.org/x) [f](#here)\n# Here\n`[g](nowhere)`\n```\n[h](nowhere)\n```\n\
                 [`i`](src)"
                    .to_owned(),
            ),
            ("docs/a.md".to_owned(), "## There\n[top](../README.md#here) [x](#nor)".to_owned()),
        ]);

        let found = broken(&documents, |path| ["README.md", "docs/a.md", "src"].contains(&path));

        let expected =
            ["README.md:2: docs/a.md#not-there", "README.md:3: docs/b.md", "docs/a.md:2: #nor"];
        assert_eq!(found, expected);
    }

    #[test]
    fn links_to_other_sites_must_have_the_form_of_one() {
        for right in ["https://example.org", "http://a-b.org/x?y#z", "mailto:a@example.org"] {
            assert!(is_external(right), "{right}");
        }
        for wrong in ["https:/example.org", "https://", "https://org", "mailto:a", "ftp://a.org"] {
            assert!(!is_external(wrong), "{wrong}");
        }
    }
}
