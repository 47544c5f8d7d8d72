//! What this program is.

use api::BuildInfo;

/// `make dist` sets date and host; a build from a checkout has neither, so that it is the same on every machine.
pub(crate) const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    build_date: match option_env!("SOLERA_BUILD_DATE") {
        Some(date) => date,
        None => "unknown",
    },
    build_host: match option_env!("SOLERA_BUILD_HOST") {
        Some(host) => host,
        None => "unknown",
    },
    go_version: env!("SOLERA_RUSTC_VERSION"),
};
