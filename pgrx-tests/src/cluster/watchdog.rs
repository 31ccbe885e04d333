//! Ends a cluster whose process ended without doing so: Ctrl-C, kill -9, a crash.
//!
//! A shell waits on a pipe that only we hold the other end of. When we end in whatever way, the
//! kernel closes it, and the shell stops the server and removes the files.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// SIGINT to the postmaster is its fast shutdown; SIGQUIT, after half a minute, its immediate one.
/// It is down when its pid file is gone: in a container nobody may collect the process itself.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r word && exit 0
pid=$(head -n 1 "$1/postmaster.pid" 2>/dev/null) || pid=
if [ -n "$pid" ]; then
    kill -INT "$pid"
    tries=0
    while [ -e "$1/postmaster.pid" ] && kill -0 "$pid" && [ $tries -lt 300 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    [ -e "$1/postmaster.pid" ] && kill -QUIT "$pid" && sleep 0.5
fi 2>/dev/null
rm -rf "$1" "$2"
"#;

/// The waiting shell.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
    leash: Mutex<Option<ChildStdin>>,
}

impl Watchdog {
    /// Watches over a data directory, and the directory that holds its socket.
    pub fn start(data: &Path, sockets: &Path) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .args([data, sockets])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of the terminal's process group: Ctrl-C is for us, not for the one that tidies up.
            .process_group(0)
            .spawn()
            .context("starting the watchdog")?;
        let leash = Mutex::new(shell.stdin.take());
        Ok(Self { shell, leash })
    }

    /// Dismisses it: the cluster has been ended in order.
    pub fn dismiss(&mut self) {
        if let Some(mut stdin) = self.take_leash() {
            // It may be gone already; there is nothing to do about that.
            let _ = stdin.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }

    /// Lets it do now what it does when we end; it is not waited for.
    pub fn unleash(&self) {
        drop(self.take_leash());
    }

    fn take_leash(&self) -> Option<ChildStdin> {
        self.leash.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
