//! Which Debian this machine has, and where its packages come from.

use std::process::Command;

use anyhow::{Context, Result};

use super::command::output;

/// The code name of the release, such as `bookworm`; nothing where it is no Debian.
pub fn release() -> Option<String> {
    release_in(&std::fs::read_to_string("/etc/os-release").ok()?)
}

/// The mirror of the system's own suite.
pub fn mirror() -> Result<String> {
    let release = release().context("this is no Debian")?;
    let mut targets = Command::new("apt-get");
    targets.args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)"]);
    let targets = output(targets.arg("Created-By: Packages"))?;
    mirror_in(&targets, &release)
        .with_context(|| format!("apt has no source of {release}'s main component"))
}

/// The release, of the file in which every distribution names itself.
fn release_in(text: &str) -> Option<String> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    value("VERSION_CODENAME").filter(|_| value("ID").is_some_and(|id| id == "debian"))
}

/// Of lines that apt gives, the address of a suite's main component.
fn mirror_in(targets: &str, suite: &str) -> Option<String> {
    let lines = targets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut mirrors = lines.filter_map(|words| match words[..] {
        [address, release, "main"] if release == suite => Some(address.to_owned()),
        _ => None,
    });
    mirrors.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_named_where_it_is_debian_itself() {
        let debian =
            "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";

        assert_eq!(release_in(debian).as_deref(), Some("bookworm"));
        assert_eq!(release_in("ID=\"other\"\nID_LIKE=debian\nVERSION_CODENAME=noble\n"), None);
    }

    #[test]
    fn the_mirror_is_that_of_the_suite_itself() {
        let targets = "mirror://security/debian-security/ bookworm-security main\n\
            mirror://a/debian/ bookworm-updates main\n\
            mirror://b/debian/ bookworm contrib\nmirror://c/debian/ bookworm main\n";

        assert_eq!(mirror_in(targets, "bookworm").as_deref(), Some("mirror://c/debian/"));
        assert_eq!(mirror_in(targets, "sid"), None);
    }
}
