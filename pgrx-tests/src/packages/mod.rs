//! `cargo packages`: the extension as its users install it, for one major version of the server.
//!
//! A Debian package for the server's own directories, and for PostgreSQL 18, which finds extensions elsewhere too, an
//! image that has nothing but the extension. Each is tried before it is called done: unpacked beside a copy of the
//! server that has never seen the extension, and on demand installed on a clean root.

mod clean_root;
mod deb;
mod files;
mod image;
mod trial;

use anyhow::Result;

use crate::setup::command::say;
use crate::setup::{self, Major, Tree, Workspace};
use files::Files;

/// What `cargo packages` is called with.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Install the Debian package on a clean root too, made by debootstrap from the suite that has the version
    /// (as root; not for 16, which no suite has)
    #[arg(long)]
    clean_root: bool,
}

/// Makes the packages and tries them. Stdout has a line for each.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    setup::install(workspace, Tree::Release)?;
    let files = Files::of_release(workspace)?;
    let package = deb::build(workspace, &files)?;
    println!("{}", package.display());
    trial::of_package(workspace, &package)?;
    if workspace.major() == Major::V18 {
        let image = image::build(workspace, &files)?;
        println!("{}", image.display());
        trial::of_image(workspace, &image)?;
    }
    if arguments.clean_root {
        clean_root::install(workspace, &package)?;
    }
    say("The packages are in target/packages");
    Ok(())
}
