//! What a package consists of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::setup::command::run_logged;
use crate::setup::{Tree, Workspace};

/// The version of the extension.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The files of the extension, where the release build was installed.
pub(super) struct Files {
    module: PathBuf,
    /// The control file and the scripts of this version and those that lead to it.
    extension: Vec<PathBuf>,
}

impl Files {
    /// Those of the release's tree.
    pub(super) fn of_release(workspace: &Workspace) -> Result<Self> {
        let installed = workspace.extensions(Tree::Release)?;
        let mut names =
            vec!["pg_bluegreen.control".to_owned(), format!("pg_bluegreen--{VERSION}.sql")];
        let scripts = workspace.root().join("sql");
        let entries =
            fs::read_dir(&scripts).with_context(|| format!("reading {}", scripts.display()))?;
        for entry in entries {
            let name = entry.context("reading a directory of scripts")?.file_name();
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("pg_bluegreen--") && name.matches("--").count() == 2 {
                names.push(name);
            }
        }
        names.sort();
        let extension = names.into_iter().map(|name| installed.join(name)).collect();
        Ok(Self { module: workspace.modules(Tree::Release)?.join("pg_bluegreen.so"), extension })
    }

    /// Copies them: the module, without what only a debugger reads, into one directory, the rest into another.
    pub(super) fn copy(
        &self,
        workspace: &Workspace,
        modules: &Path,
        extension: &Path,
    ) -> Result<()> {
        for directory in [modules, extension] {
            fs::create_dir_all(directory)
                .with_context(|| format!("creating {}", directory.display()))?;
        }
        let log = workspace.setup_log("packages");
        let module = modules.join("pg_bluegreen.so");
        let mut strip = std::process::Command::new("strip");
        strip.arg("--strip-unneeded").arg("-o").arg(&module).arg(&self.module);
        run_logged(&mut strip, &log).context("stripping the module")?;
        super::deb::mode(&module, 0o644)?;
        for file in &self.extension {
            let name = file.file_name().context("a file without a name")?;
            let to = extension.join(name);
            fs::copy(file, &to).with_context(|| format!("copying {}", file.display()))?;
            super::deb::mode(&to, 0o644)?;
        }
        Ok(())
    }
}

/// Where packages go: `target/packages`.
pub(super) fn directory(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target().join("packages");
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    Ok(directory)
}

/// An empty directory beside the packages, which goes with the value.
pub(super) fn scratch(workspace: &Workspace) -> Result<tempfile::TempDir> {
    let directory = tempfile::Builder::new()
        .prefix("making-")
        .tempdir_in(directory(workspace)?)
        .context("making a directory for a package")?;
    super::deb::mode(directory.path(), 0o755)?;
    Ok(directory)
}

/// The version that a package is given: that of the extension where the tag of the release is checked out, else one that
/// is older than the release, and says from which commit it was made.
pub(super) fn version(workspace: &Workspace) -> Result<String> {
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        crate::setup::command::output(git.args(arguments).current_dir(workspace.root()))
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    let tag = format!("v{VERSION}");
    if !changed && git(&["tag", "--points-at", "HEAD"])?.lines().any(|line| line == tag) {
        return Ok(VERSION.to_owned());
    }
    let commit = git(&["log", "-1", "--date=format:%Y%m%d", "--format=git%ad.%h"])?;
    Ok(format!("{VERSION}~{commit}{}", if changed { ".changed" } else { "" }))
}

/// The moment of the last commit, in seconds since 1970: packages of one commit are the same, byte by byte.
pub(super) fn moment(workspace: &Workspace) -> Result<String> {
    let mut git = std::process::Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(workspace.root());
    crate::setup::command::output(&mut git)
}
