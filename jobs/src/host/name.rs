//! What a host's lease is called.

use rules::id::HostId;

/// The name of a host's lease.
pub fn lease_name(host: HostId) -> String {
    format!("host:{host}")
}
