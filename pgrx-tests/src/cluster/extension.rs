//! Extensions that a test makes itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup::{Tree, Workspace};

/// An extension in a server's tree while it lives.
#[derive(Debug)]
pub struct MadeExtension(Vec<PathBuf>);

impl MadeExtension {
    /// Writes one of SQL, version 1, into the tree of the release.
    pub fn of_sql(name: &str, sql: &str) -> Result<Self> {
        let directory = Workspace::find()?.extensions(Tree::Release)?;
        let files = [
            (
                directory.join(format!("{name}.control")),
                "default_version = '1'\nrelocatable = false\n",
            ),
            (directory.join(format!("{name}--1.sql")), sql),
        ];
        for (file, text) in &files {
            fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(Self(files.into_iter().map(|(file, _)| file).collect()))
    }

    /// The same with a module in C, `$libdir/name`.
    pub fn of_c(name: &str, sql: &str, source: &str) -> Result<Self> {
        let mut made = Self::of_sql(name, sql)?;
        let workspace = Workspace::find()?;
        let headers = Command::new(workspace.pg_config(Tree::Release))
            .arg("--includedir-server")
            .output()
            .context("asking pg_config")?;
        let headers = String::from_utf8(headers.stdout).context("a path")?;
        let module = workspace.modules(Tree::Release)?.join(format!("{name}.so"));
        let file = workspace.target().join(format!("{name}-{}.c", workspace.major()));
        fs::write(&file, source).with_context(|| format!("writing {}", file.display()))?;
        made.0.extend([file.clone(), module.clone()]);
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-I", headers.trim(), "-o"])
            .args([&module, &file])
            .output()
            .context("starting the C compiler")?;
        if !built.status.success() {
            bail!("{}", String::from_utf8_lossy(&built.stderr));
        }
        Ok(made)
    }
}

impl Drop for MadeExtension {
    fn drop(&mut self) {
        for file in &self.0 {
            let _ = fs::remove_file(file);
        }
    }
}
