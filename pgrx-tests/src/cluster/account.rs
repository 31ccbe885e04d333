//! As whom the server's programs run. PostgreSQL refuses to run as root.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::unistd::{Gid, Uid, User};

/// The system account that Debian's packages make for the server.
const ACCOUNT: &str = "postgres";

/// How a program of the server is started so that it does not see itself as root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// We are an ordinary user: as we are.
    Own,
    /// We are root: in a user namespace in which root's id is shown as the server account's. The
    /// files stay root's, so that it also works in a home that nobody else can read.
    Mapped {
        /// The user id that is shown.
        uid: Uid,
        /// The group id that is shown.
        gid: Gid,
    },
    /// We are root where user namespaces are not permitted (some containers): by `runuser`. The
    /// clone must then be readable to that account.
    Switched {
        /// The account's user id.
        uid: Uid,
        /// The account's group id.
        gid: Gid,
    },
}

impl Account {
    /// Finds the way that works on this machine.
    pub fn find() -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(Account::Own);
        }
        let user = User::from_name(ACCOUNT)
            .with_context(|| format!("looking up the account {ACCOUNT}"))?
            .with_context(|| format!("the account {ACCOUNT} is missing: run the set-up first"))?;
        let mapped = Account::Mapped { uid: user.uid, gid: user.gid };
        let tried = mapped
            .command("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if tried.is_ok_and(|status| status.success()) {
            return Ok(mapped);
        }
        Ok(Account::Switched { uid: user.uid, gid: user.gid })
    }

    /// A command that runs `program` as this account.
    pub fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self {
            Account::Own => Command::new(program),
            Account::Mapped { uid, gid } => {
                let mut command = Command::new("unshare");
                command
                    .arg("--user")
                    .arg(format!("--map-user={uid}"))
                    .arg(format!("--map-group={gid}"))
                    .arg("--")
                    .arg(program);
                command
            }
            Account::Switched { .. } => {
                let mut command = Command::new("runuser");
                command.args(["-u", ACCOUNT, "--"]).arg(program);
                command
            }
        };
        // Wherever we are called from may be unreadable to the account.
        command.current_dir("/").env("USER", ACCOUNT).env("LOGNAME", ACCOUNT);
        command
    }

    /// Makes the account the owner of a directory of ours, where that is needed.
    pub fn adopt(self, dir: &Path) -> Result<()> {
        match self {
            Account::Own | Account::Mapped { .. } => Ok(()),
            Account::Switched { uid, gid } => {
                std::os::unix::fs::chown(dir, Some(uid.as_raw()), Some(gid.as_raw()))
                    .with_context(|| format!("giving {} to {ACCOUNT}", dir.display()))
            }
        }
    }
}
