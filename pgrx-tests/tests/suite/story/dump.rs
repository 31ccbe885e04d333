//! What pg_dump says of a database.

use std::collections::BTreeMap;

use super::Scene;
use bluegreen_tests::cluster::SUPERUSER;

/// The text of `pg_dump --schema-only`, without what no two runs have in common.
pub struct Dump(String);

impl Dump {
    /// Without the blue schemas, our own, and our triggers.
    pub fn take(scene: &Scene) -> Self {
        Self::run(scene, &["-N", "*_blue", "-N", "bluegreen", "-N", "bluegreen_*"])
    }

    /// With everything.
    pub fn whole(scene: &Scene) -> Self {
        Self::run(scene, &[])
    }

    fn run(scene: &Scene, arguments: &[&str]) -> Self {
        let output = scene
            .cluster
            .command("pg_dump")
            .args(["--schema-only", "-U", SUPERUSER, "-d", &scene.database])
            .args(arguments)
            .output()
            .expect("pg_dump");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let is_ours = |line: &str| {
            ["capture", "truncate", "guard"]
                .iter()
                .any(|trigger| line.contains(&format!("bluegreen_{trigger}")))
        };
        // A chunk is an object: its heading and its statements.
        let mut kept = String::new();
        for chunk in text.split("\n--\n-- ") {
            let lines: Vec<_> = chunk
                .lines()
                .filter(|l| !l.starts_with("\\restrict") && !l.starts_with("\\unrestrict"))
                .collect();
            if lines.iter().any(|line| line.starts_with("Name:") && is_ours(line)) {
                continue;
            }
            let own = lines.into_iter().filter(|line| !is_ours(line));
            kept.extend(own.flat_map(|line| [line, "\n"]));
            kept.push('\n');
        }
        Self(kept)
    }

    /// Asserts that nothing is different.
    #[track_caller]
    pub fn assert_same(&self, later: &Dump, when: &str) {
        if self.0 != later.0 {
            let (gone, come) = difference(self, later);
            panic!("{when}: pg_dump is another.\ngone: {gone:#?}\ncome: {come:#?}");
        }
    }
}

/// Lines that only one of two dumps has: the first's, the second's.
pub fn difference(one: &Dump, other: &Dump) -> (Vec<String>, Vec<String>) {
    (only(one, other), only(other, one))
}

fn only(one: &Dump, other: &Dump) -> Vec<String> {
    let mut there: BTreeMap<&str, i32> = BTreeMap::new();
    for line in other.0.lines() {
        *there.entry(line).or_default() += 1;
    }
    one.0
        .lines()
        .filter(|line| {
            let left = there.entry(line).or_default();
            *left -= 1;
            *left < 0
        })
        .map(str::to_owned)
        .collect()
}
