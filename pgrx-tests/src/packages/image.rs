//! An image in the layout of the Open Container Initiative, with nothing but the extension: `/lib` and `/share`.
//!
//! Operators of Kubernetes mount such an image beside a server of PostgreSQL 18 or later, whose settings
//! `extension_control_path` and `dynamic_library_path` then lead to it. Source: the specification of the image format,
//! version 1.1 (image layout, manifest, configuration, layers).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::deb;
use super::files::{Files, directory, moment, scratch, version};
use crate::setup::Workspace;
use crate::setup::command::{output, run_logged};

/// What is known of a blob where it is named.
struct Blob {
    digest: String,
    size: u64,
}

/// Makes the image, and returns its directory.
pub(super) fn build(workspace: &Workspace, files: &Files) -> Result<PathBuf> {
    let scratch = scratch(workspace)?;
    let content = scratch.path().join("content");
    files.copy(workspace, &content.join("lib"), &content.join("share/extension"))?;
    let image = scratch.path().join("image");
    let blobs = image.join("blobs/sha256");
    fs::create_dir_all(&blobs).context("making the image's directory")?;

    let (layer, unpacked) = layer(workspace, &content, &blobs)?;
    let created = output(
        Command::new("date")
            .args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"])
            .arg(format!("@{}", moment(workspace)?)),
    )?;
    let config = json!({
        "created": created,
        "architecture": deb::architecture()?,
        "os": "linux",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": [unpacked] },
    });
    let config = put(&blobs, &config)?;
    // A tag of an image has no tilde.
    let version = version(workspace)?.replace('~', "-");
    let name = format!("{version}-{}", workspace.major());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("config.v1+json", &config),
        "layers": [described("layer.v1.tar+gzip", &layer)],
        "annotations": {
            "org.opencontainers.image.title": "pg_bluegreen",
            "org.opencontainers.image.version": version,
            "org.opencontainers.image.licenses": "MIT",
        },
    });
    let mut manifest = described("manifest.v1+json", &put(&blobs, &manifest)?);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    write(&image.join("oci-layout"), &json!({ "imageLayoutVersion": "1.0.0" }))?;
    write(&image.join("index.json"), &json!({ "schemaVersion": 2, "manifests": [manifest] }))?;

    let to = directory(workspace)?.join(format!("pg_bluegreen-{name}-oci"));
    if to.exists() {
        fs::remove_dir_all(&to).with_context(|| format!("removing {}", to.display()))?;
    }
    fs::rename(&image, &to).with_context(|| format!("moving {} into place", to.display()))?;
    Ok(to)
}

/// Packs the content; the layer, and the digest of what is in it.
fn layer(workspace: &Workspace, content: &Path, blobs: &Path) -> Result<(Blob, String)> {
    let log = workspace.setup_log("packages");
    let packed = blobs.join("layer.tar");
    let mut tar = Command::new("tar");
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mode=u+rwX,go+rX,go-w",
    ])
    .arg(format!("--mtime=@{}", moment(workspace)?))
    .arg("--directory")
    .arg(content)
    .arg("--file")
    .arg(&packed)
    .args(["--create", "lib", "share"]);
    run_logged(&mut tar, &log).context("packing the image's layer")?;
    let unpacked = digest(&packed)?;
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name"]).arg(&packed);
    run_logged(&mut gzip, &log).context("packing the image's layer")?;
    Ok((place(blobs, &blobs.join("layer.tar.gz"))?, unpacked))
}

fn described(kind: &str, blob: &Blob) -> Value {
    json!({
        "mediaType": format!("application/vnd.oci.image.{kind}"),
        "digest": blob.digest,
        "size": blob.size,
    })
}

fn put(blobs: &Path, value: &Value) -> Result<Blob> {
    let file = blobs.join("new.json");
    write(&file, value)?;
    place(blobs, &file)
}

/// Gives a blob its name: its digest.
fn place(blobs: &Path, file: &Path) -> Result<Blob> {
    let digest = digest(file)?;
    let name = digest.trim_start_matches("sha256:");
    fs::rename(file, blobs.join(name)).with_context(|| format!("moving {}", file.display()))?;
    let size = fs::metadata(blobs.join(name)).context("looking at a blob")?.len();
    Ok(Blob { digest, size })
}

fn digest(file: &Path) -> Result<String> {
    let sum = output(Command::new("sha256sum").arg(file))?;
    Ok(format!("sha256:{}", sum.split_whitespace().next().unwrap_or_default()))
}

fn write(file: &Path, value: &Value) -> Result<()> {
    fs::write(file, value.to_string()).with_context(|| format!("writing {}", file.display()))
}
