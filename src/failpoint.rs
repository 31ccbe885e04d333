//! Named points at which a test makes a step fail. Compiled out of a release build.

/// Fails with the point's name when the setting `bluegreen_test.failpoint` names it.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub fn reach(_name: &str) {}

/// Fails with the point's name when the setting `bluegreen_test.failpoint` names it.
#[cfg(feature = "failpoints")]
pub fn reach(name: &str) {
    let set = pgrx::Spi::get_one::<String>(
        "SELECT pg_catalog.current_setting('bluegreen_test.failpoint', true)",
    );
    if matches!(set, Ok(Some(ref point)) if point == name) {
        pgrx::error!("failpoint {name}");
    }
}
