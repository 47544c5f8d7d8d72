//! File descriptors: a log that cannot open a file is a log that fails.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What logs and views need beside connections: RocksDB keeps the view's files open.
const FILES: u64 = 4_096;

/// Raises the limit of this process as far as it may, and says when that is not enough for so many connections, all
/// listeners together.
///
/// The default of 1,024 is for programs that use `select`, which this is not.
pub(crate) fn raise(connections_max: u64) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = connections_max + FILES;
    if current.is_none_or(|current| wanted <= current) {
        return;
    }
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        tracing::warn!("Cannot raise the limit of open files to {raised}: {error}");
    }
    if raised < wanted {
        tracing::warn!(
            "At most {raised} files may be open, and {connections_max} connections with the files of logs and views \
             need {wanted}: lower `limits.max_connections`, or raise the limit (`LimitNOFILE=` in a systemd unit)"
        );
    }
}
