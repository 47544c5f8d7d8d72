//! Sections of the full surface whose features are not built yet. Each is checked, so that a file can be written now.

use super::{
    section::{Read, Section},
    value::{flag, path},
};

/// Checks `audit`.
pub(super) fn audit(audit: &mut Section<'_>) -> Read<()> {
    audit.check_required("secret_file", path("/etc/solera/audit-secret"));
    audit.check("changes_topic", flag);
    Ok(())
}
