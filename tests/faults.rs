//! Disks that fail, fill up and stall, and clocks that jump, under the real program: what was acknowledged is kept, what
//! was refused never appears, reads go on, and the service comes back by itself.
//!
//! System calls fail through `strace`, disks fill in a mount namespace, clocks are `libfaketime`'s. `scripts/deps.sh`
//! brings the tools. It takes root.
//!
//! ```text
//!   SOLERA_FAULTS=all     more of everything: for the night
//!   SOLERA_FAULTS=none    leaves these tests out, where there is no root
//! ```

mod load;
mod small_disk;
mod strace;

mod broken_disk;
pub(crate) mod clocks;
mod full_disk;
mod slow_disk;

use crate::harness::Launch;

/// How much is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    None,
    Ci,
    All,
}

impl Extent {
    fn asked_for() -> Self {
        match std::env::var("SOLERA_FAULTS").as_deref() {
            Ok("none") => {
                println!("LEFT OUT, as SOLERA_FAULTS asks");
                Self::None
            }
            Ok("all") => Self::All,
            _ => Self::Ci,
        }
    }
}

/// A node with these keys beside those that every file of Solera's own needs.
fn launch(keys: &str) -> Launch {
    let config = format!(
        "dc: eqiad\nbase_uri: /sessions/v1\n\
         secrets: {{ index: {{ file: ${{DIR}}/index }}, ring: [ {{ id: 1, file: ${{DIR}}/ring }} ] }}\n{keys}"
    );
    let launch = Launch::serve(&config).file("index", [1; 32]).file("ring", [2; 32]);
    for secret in ["index", "ring"] {
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(launch.dir().join(secret), private).expect("a secret of our own");
    }
    launch
}
