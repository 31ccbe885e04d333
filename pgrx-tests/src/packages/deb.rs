//! The Debian package `postgresql-N-bluegreen`, with the names and directories of Debian's own packages of extensions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::files::{Files, directory, moment, scratch, version};
use crate::setup::command::{output, run_logged};
use crate::setup::{Workspace, ensure_program};

/// Makes the package, and returns where it is.
pub(super) fn build(workspace: &Workspace, files: &Files) -> Result<PathBuf> {
    for (program, package) in [("dpkg-shlibdeps", "dpkg-dev"), ("strip", "binutils")] {
        ensure_program(workspace, program, &["--version"], package)?;
    }
    let (major, name) = (workspace.major(), name(workspace));
    let scratch = scratch(workspace)?;
    let top = scratch.path().join("package");
    let modules = top.join(format!("usr/lib/postgresql/{major}/lib"));
    let extension = top.join(format!("usr/share/postgresql/{major}/extension"));
    files.copy(workspace, &modules, &extension)?;
    let documents = top.join("usr/share/doc").join(&name);
    write_documents(workspace, &documents)?;

    let (architecture, version) = (architecture()?, version(workspace)?);
    let needs = needs(scratch.path(), &modules.join("pg_bluegreen.so"))?;
    let control = format!(
        "Package: {name}\n\
         Source: pg-bluegreen\n\
         Version: {version}-1\n\
         Architecture: {architecture}\n\
         Maintainer: pg_bluegreen developers <pg_bluegreen@localhost>\n\
         Installed-Size: {}\n\
         Depends: postgresql-{major}, {needs}\n\
         Section: database\n\
         Priority: optional\n\
         Description: table-level blue-green deployment inside PostgreSQL {major}\n \
         Changes the definition of a live table: an offline copy with the new definition is\n \
         kept in step with all writes, swapped in within milliseconds, and can be swapped back\n \
         with every write made since.\n",
        kilobytes(&top)?
    );
    let meta = top.join("DEBIAN");
    fs::create_dir_all(&meta).context("making the package's directory")?;
    // Whatever the umask is.
    open_directories(&top)?;
    fs::write(meta.join("control"), control).context("writing the control file")?;
    fs::write(meta.join("md5sums"), sums(&top)?).context("writing the sums")?;

    let package = directory(workspace)?.join(format!("{name}_{version}-1_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build
        .args(["--root-owner-group", "-Zxz", "--build"])
        .arg(&top)
        .arg(&package)
        .env("SOURCE_DATE_EPOCH", moment(workspace)?);
    run_logged(&mut build, &workspace.setup_log("packages")).context("building the package")?;
    Ok(package)
}

/// This machine's architecture, as Debian and images name it.
pub(super) fn architecture() -> Result<String> {
    output(Command::new("dpkg").arg("--print-architecture"))
}

/// The package's name.
pub(super) fn name(workspace: &Workspace) -> String {
    format!("postgresql-{}-bluegreen", workspace.major())
}

fn write_documents(workspace: &Workspace, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for (from, name) in
        [("LICENSE", "copyright"), ("CHANGELOG.md", "changelog"), ("README.md", "README.md")]
    {
        let to = to.join(name);
        fs::copy(workspace.root().join(from), &to).with_context(|| format!("copying {from}"))?;
        mode(&to, 0o644)?;
    }
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name"]).arg(to.join("changelog"));
    run_logged(&mut gzip, &workspace.setup_log("packages")).context("packing the changelog")
}

/// The packages of the libraries that the module is linked with, and their versions.
fn needs(scratch: &Path, module: &Path) -> Result<String> {
    // It reads the names of source and package from here.
    let debian = scratch.join("debian");
    fs::create_dir_all(&debian).context("making a directory for dpkg")?;
    fs::write(debian.join("control"), "Source: pg-bluegreen\n\nPackage: x\nArchitecture: any\n")
        .context("writing a control file for dpkg")?;
    let mut dependencies = Command::new("dpkg-shlibdeps");
    dependencies.arg("-O").arg("-e").arg(module).current_dir(scratch);
    let said = output(&mut dependencies)?;
    match said.lines().find_map(|line| line.strip_prefix("shlibs:Depends=")) {
        Some(needs) => Ok(needs.to_owned()),
        None => bail!("dpkg-shlibdeps names no package: {said}"),
    }
}

/// The sizes of the files together, each rounded up.
fn kilobytes(top: &Path) -> Result<u64> {
    let mut find = Command::new("find");
    let sizes = output(find.arg(top).args(["-type", "f", "-printf", "%s\\n"]))?;
    let sizes = sizes.lines().filter_map(|size| size.parse::<u64>().ok());
    Ok(sizes.map(|size| size.div_ceil(1024)).sum())
}

fn open_directories(top: &Path) -> Result<()> {
    let mut find = Command::new("find");
    output(find.arg(top).args(["-type", "d", "-exec", "chmod", "0755", "{}", "+"])).map(drop)
}

/// The md5 sum of each file, by its path from the root.
fn sums(top: &Path) -> Result<String> {
    let mut find = Command::new("find");
    find.args(["usr", "-type", "f", "-exec", "md5sum", "{}", "+"]).current_dir(top);
    let mut lines: Vec<String> =
        output(&mut find)?.lines().map(|line| format!("{line}\n")).collect();
    lines.sort_by(|a, b| a.get(34..).cmp(&b.get(34..)));
    Ok(lines.concat())
}

/// Sets a file's permissions, whatever those were of what it was copied from.
pub(super) fn mode(file: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the permissions of {}", file.display()))
}
