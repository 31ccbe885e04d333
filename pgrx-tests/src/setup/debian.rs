//! Which Debian this machine has.

/// The code name of the release, such as `bookworm`; nothing where it is no Debian.
pub fn release() -> Option<String> {
    release_in(&std::fs::read_to_string("/etc/os-release").ok()?)
}

/// The same, of the file in which every distribution names itself.
fn release_in(text: &str) -> Option<String> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    value("VERSION_CODENAME").filter(|_| value("ID").is_some_and(|id| id == "debian"))
}

#[cfg(test)]
mod tests {
    use super::release_in;

    #[test]
    fn a_release_is_named_where_it_is_debian_itself() {
        let debian =
            "PRETTY_NAME=\"Debian\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nID=debian\n";

        assert_eq!(release_in(debian).as_deref(), Some("bookworm"));
        assert_eq!(release_in("ID=\"other\"\nID_LIKE=debian\nVERSION_CODENAME=noble\n"), None);
    }
}
