//! The cluster's own settings: durable and modest for `up`, fast and forgetful for tests.

use super::Place;

/// How a cluster is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether a commit survives a loss of power. Only tests say no.
    pub durable: bool,
    /// Most connections at once.
    pub max_connections: u16,
    /// Postgres' own page cache, in mebibytes.
    pub shared_buffers_mb: u16,
}

impl Options {
    /// For `up`: every acknowledged commit is on disk.
    pub fn durable() -> Self {
        Self { durable: true, max_connections: 120, shared_buffers_mb: 128 }
    }

    /// For tests: nothing is flushed, since nothing is kept.
    pub fn forgetful() -> Self {
        Self { durable: false, max_connections: 300, shared_buffers_mb: 128 }
    }

    /// The text of `postgresql.conf`, written anew at every start so that it follows the program.
    pub(super) fn render(&self, place: &Place) -> String {
        let on = if self.durable { "on" } else { "off" };
        let socket_dir = place.socket_dir().display();
        format!(
            "# Written by millrace at every start; changes made here are lost.\n\
             listen_addresses = ''\n\
             port = 5432\n\
             unix_socket_directories = '\"{socket_dir}\"'\n\
             unix_socket_permissions = 0700\n\
             max_connections = {connections}\n\
             shared_buffers = {buffers}MB\n\
             fsync = {on}\n\
             synchronous_commit = {on}\n\
             full_page_writes = {on}\n\
             # Nobody replicates from this cluster, so its log need only serve recovery.\n\
             wal_level = minimal\n\
             max_wal_senders = 0\n\
             max_wal_size = 1GB\n\
             checkpoint_timeout = 10min\n\
             # Queue tables turn over quickly; the default minute lets dead rows pile up.\n\
             autovacuum_naptime = 10s\n\
             autovacuum_vacuum_cost_delay = 1ms\n\
             jit = off\n\
             timezone = 'UTC'\n\
             log_timezone = 'UTC'\n\
             log_min_messages = warning\n\
             log_checkpoints = off\n\
             log_line_prefix = '%m [%p] %u@%d '\n",
            connections = self.max_connections,
            buffers = self.shared_buffers_mb,
        )
    }
}

/// The text of `pg_hba.conf`: no password, because only the owner of the socket's folder (mode
/// 0700) and root can reach the socket, and no line for TCP.
pub(super) const HBA: &str =
    "# Written by millrace at every start; changes made here are lost.\nlocal all all trust\n";
