//! A root of Debian that has the server and nothing of ours, made by debootstrap, into which the package is installed
//! by dpkg: what it needs is there, or it fails here.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{deb, trial};
use crate::setup::command::{run_logged, say};
use crate::setup::{Major, Workspace, ensure_program, mirror};

/// Starts a new cluster in which everybody is trusted, says so, and waits to be told to stop.
const SERVE: &str = "
set -e
export LC_ALL=C.UTF-8
mkdir -p /dev/shm
mount -t proc proc /proc
mount -t tmpfs tmpfs /dev/shm
pg_dropcluster --stop \"$1\" main 2> /dev/null || true
pg_createcluster \"$1\" main -- --auth=trust > /dev/null
pg_ctlcluster \"$1\" main start
echo ready
read answer
pg_ctlcluster \"$1\" main stop -m immediate";

/// Makes the root, installs the package there, and runs the README's session on its server.
pub(super) fn install(workspace: &Workspace, package: &Path) -> Result<()> {
    let major = workspace.major();
    let suite = match major {
        Major::V15 => "bookworm",
        Major::V17 => "trixie",
        Major::V18 => "forky",
        Major::V16 => bail!("no suite of Debian has PostgreSQL 16"),
    };
    if !nix::unistd::geteuid().is_root() {
        bail!("a clean root is made as root");
    }
    ensure_program(workspace, "debootstrap", &["--version"], "debootstrap")?;
    let log = workspace.setup_log("clean-root");
    // Not below the clone: the path of a socket is short.
    let root = tempfile::Builder::new()
        .prefix("bluegreen-root-")
        .tempdir_in("/tmp")
        .context("making a directory for the root")?;
    deb::mode(root.path(), 0o755)?;
    say(&format!("Making a root of Debian {suite} with PostgreSQL {major}"));
    let mut make = alone("debootstrap");
    make.arg("--variant=minbase")
        .arg(format!("--include=postgresql-{major}"))
        .arg(suite)
        .arg(root.path())
        .arg(mirror()?)
        // Its own script for each suite is this one; it has none for suites that are younger than it is.
        .arg("/usr/share/debootstrap/scripts/sid");
    run_logged(&mut make, &log).context("making a root of Debian")?;

    fs::copy(package, root.path().join("tmp/package.deb")).context("copying the package")?;
    let mut dpkg = alone("chroot");
    dpkg.arg(root.path()).args(["dpkg", "--install", "/tmp/package.deb"]);
    run_logged(&mut dpkg, &log).context("installing the package")?;
    say(&format!("{} was installed there by dpkg", deb::name(workspace)));

    let server = Server::start(root.path(), major)?;
    let sockets = root.path().join("run/postgresql");
    let done = trial::readme(workspace, &|user, database| {
        let mut config = postgres::Config::new();
        config.host_path(&sockets).port(5432).user(user).dbname(database);
        config.connect_timeout(Duration::from_secs(10));
        config
    });
    server.stop()?;
    done
}

/// A program in namespaces of its own: its mounts and its processes end with it.
fn alone(program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--", program]);
    command
}

/// The server in the root.
struct Server(Child);

impl Server {
    fn start(root: &Path, major: Major) -> Result<Self> {
        let mut serve = alone("chroot");
        serve
            .arg(root)
            .args(["sh", "-c", SERVE, "serve", &major.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = serve.spawn().context("starting the server of the clean root")?;
        let out = child.stdout.take().context("the server's output")?;
        let server = Self(child);
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).context("waiting for the server")?;
        if line.trim() != "ready" {
            bail!("the server of the clean root did not start");
        }
        Ok(server)
    }

    fn stop(mut self) -> Result<()> {
        if let Some(mut stdin) = self.0.stdin.take() {
            stdin.write_all(b"stop\n").context("stopping the server")?;
        }
        self.0.wait().context("waiting for the server's end")?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
