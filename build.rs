//! Compares what the extension declares by hand of the server with the headers that it is built against.
//!
//! `src/pg/declared.c` compiles only where they agree; nothing of it is linked.

use std::error::Error;
use std::path::Path;

use pgrx_pg_config::Pgrx;

const DECLARED: &str = "src/pg/declared.c";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={DECLARED}");
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_PATH");
    println!("cargo:rerun-if-env-changed=PGRX_PG_CONFIG_AS_ENV");
    println!("cargo:rerun-if-env-changed=PGRX_HOME");
    if let Ok(config) = Pgrx::config_toml() {
        println!("cargo:rerun-if-changed={}", config.display());
    }
    let of_version = |version: &&str| {
        std::env::var_os(format!("CARGO_FEATURE_{}", version.to_uppercase())).is_some()
    };
    let version = ["pg15", "pg16", "pg17", "pg18"].into_iter().find(of_version);
    let version = version.ok_or("none of the features pg15, pg16, pg17 and pg18 is chosen")?;
    let told = |error| format!("looking for the headers of {version}: {error}");
    let pgrx = Pgrx::from_config().map_err(told)?;
    let server = pgrx.get(version).map_err(told)?;
    let headers = server.includedir_server().map_err(told)?;
    // It has the number of the minor release.
    println!("cargo:rerun-if-changed={}", headers.join("pg_config.h").display());
    check(&headers)
}

/// Lets the compiler read the comparison; it writes nothing.
fn check(headers: &Path) -> Result<(), Box<dyn Error>> {
    let done = cc::Build::new()
        .include(headers)
        .warnings(false)
        .flag_if_supported("-Werror=incompatible-pointer-types")
        .flag_if_supported("-Werror=incompatible-function-pointer-types")
        .flag("-fsyntax-only")
        .get_compiler()
        .to_command()
        .current_dir(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo gives no directory")?)
        .arg(DECLARED)
        .output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!(
        "the server's headers are not what src/pg, src/heap and src/model declare:\n{said}"
    )
    .into())
}
