//! `solera bench`.

use std::io;

use bench::Arguments;

use crate::open_files;

/// Loads a server, or measures a floor, and writes what came out to standard output.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // The default suffices for a thousand connections, and there may be many more.
    open_files::raise(u64::from(arguments.connections()));
    bench::run(arguments, &mut io::stdout().lock())
}
