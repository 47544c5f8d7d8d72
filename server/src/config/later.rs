//! Sections of the full surface whose features are not built yet. Each is checked, so that a file can be written now.

use super::{
    section::{Read, Section},
    value::{flag, number, path},
};

/// Checks `audit`.
pub(super) fn audit(audit: &mut Section<'_>) -> Read<()> {
    audit.check_required("secret_file", path("/etc/solera/audit-secret"));
    audit.check("changes_topic", flag);
    Ok(())
}

/// Checks `on_log_outage`.
pub(super) fn on_log_outage(outage: &mut Section<'_>) -> Read<()> {
    outage.check("serve_for_s", number("a whole number of seconds (0 = refuse at once)", 0..=86_400_u32, 60));
    Ok(())
}
