//! Trying a package: the session that the README shows runs on a server that got the extension from it alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::files::scratch;
use crate::cluster::{Cluster, Options, SUPERUSER};
use crate::documents::blocks::{Mark, blocks};
use crate::documents::speaker::Speaker;
use crate::documents::statements::{self, Statement};
use crate::setup::command::{run_logged, say};
use crate::setup::{self, Tree, Workspace};

/// The role whose session is shown.
const ROLE: &str = "app";

/// Unpacks a Debian package into the directories that a copy of the server has for extensions.
pub(super) fn of_package(workspace: &Workspace, package: &Path) -> Result<()> {
    setup::fresh(workspace, Tree::Packaged)?;
    let unpacked = scratch(workspace)?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(package).arg(unpacked.path());
    run_logged(&mut unpack, &workspace.setup_log("packages")).context("unpacking the package")?;
    let major = workspace.major();
    for (from, to) in [
        (format!("usr/lib/postgresql/{major}/lib"), workspace.modules(Tree::Packaged)?),
        (format!("usr/share/postgresql/{major}/extension"), workspace.extensions(Tree::Packaged)?),
    ] {
        let from = unpacked.path().join(from);
        let entries = fs::read_dir(&from).with_context(|| format!("reading {}", from.display()))?;
        for entry in entries {
            let file = entry.context("reading what was unpacked")?;
            fs::copy(file.path(), to.join(file.file_name()))
                .with_context(|| format!("copying {}", file.path().display()))?;
        }
    }
    in_cluster(workspace, &Options::default().tree(Tree::Packaged))
}

/// Unpacks an image's layer somewhere, and leads a server there by its settings.
pub(super) fn of_image(workspace: &Workspace, image: &Path) -> Result<()> {
    setup::fresh(workspace, Tree::Packaged)?;
    let unpacked = scratch(workspace)?;
    let top = unpacked.path();
    let mut unpack = Command::new("tar");
    unpack.arg("--directory").arg(top).args(["--extract", "--gzip", "--file"]).arg(layer(image)?);
    run_logged(&mut unpack, &workspace.setup_log("packages")).context("unpacking the layer")?;
    let options = Options::default()
        .tree(Tree::Packaged)
        .set("extension_control_path", &format!("$system:{}/share", top.display()))
        .set("dynamic_library_path", &format!("$libdir:{}/lib", top.display()));
    in_cluster(workspace, &options)
}

/// The file of an image's only layer, by way of the manifest.
fn layer(image: &Path) -> Result<std::path::PathBuf> {
    let read = |file: &Path| -> Result<serde_json::Value> {
        let text = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
    };
    let blob = |digest: &serde_json::Value| {
        let digest = digest.as_str().and_then(|digest| digest.strip_prefix("sha256:"));
        digest.map(|name| image.join("blobs/sha256").join(name)).context("no digest")
    };
    let manifest = blob(&read(&image.join("index.json"))?["manifests"][0]["digest"])?;
    blob(&read(&manifest)?["layers"][0]["digest"])
}

fn in_cluster(workspace: &Workspace, options: &Options) -> Result<()> {
    let cluster = Cluster::start(options)?;
    readme(workspace, &|user, database| cluster.config(user, database))
}

/// Runs the README's session on a server to which `config` leads a user.
pub(super) fn readme(
    workspace: &Workspace,
    config: &dyn Fn(&str, &str) -> postgres::Config,
) -> Result<()> {
    let mut admin = Speaker::connect(config(SUPERUSER, "postgres"))?;
    let mut run = |sql: &str| {
        let said = admin.outcome(sql)?.messages;
        match said.iter().find(|line| line.starts_with("ERROR:")) {
            Some(error) => bail!("{sql}: {error}"),
            None => Ok(()),
        }
    };
    let table = workspace.root().join("pgrx-tests/sessions/users.sql");
    let table = fs::read_to_string(&table).context("reading the table of the session")?;
    for sql in [&format!("CREATE ROLE {ROLE} LOGIN"), "CREATE EXTENSION pg_bluegreen", &table] {
        run(sql)?;
    }
    let statements = session(workspace)?;
    Speaker::connect(config(ROLE, "postgres"))?.expect(&statements)?;
    let major = workspace.major();
    say(&format!(
        "README's session on PostgreSQL {major}: {} statements, each as shown",
        statements.len()
    ));
    Ok(())
}

/// The session that the README shows first.
fn session(workspace: &Workspace) -> Result<Vec<Statement>> {
    let readme = workspace.root().join("README.md");
    let text = fs::read_to_string(&readme).context("reading the README")?;
    let shown = Mark::Session("users".to_owned());
    let block = blocks(&text).0.into_iter().find(|block| block.mark.as_ref() == Some(&shown));
    let block = block.context("the README shows no session")?;
    match statements::of_transcript(&block.text) {
        Ok(statements) if !statements.is_empty() => Ok(statements),
        Ok(_) => bail!("the README's session has no statement"),
        Err(why) => bail!("the README's session: {why}"),
    }
}
