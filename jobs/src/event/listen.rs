//! Hears that there may be new events.

use tokio_util::sync::CancellationToken;

use crate::db::{PgPool, notify};
use crate::queue::wake;

/// Calls `hear` whenever somebody says that there may be new events ([`crate::queue::Wake::stir`]), and after each
/// new beginning of the connection, until the shutdown. A word that was lost is made up for by a poll of the caller's.
pub async fn listen(db: PgPool, shutdown: CancellationToken, hear: impl Fn() + Send) {
    notify::listen(db, wake::NEWS, shutdown, move |_| hear()).await;
}
