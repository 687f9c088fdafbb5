//! Turns signals into one cancellation token, so that every loop ends the same way.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long work in progress may go on after the first signal, unless configured otherwise.
pub const GRACE: Duration = Duration::from_secs(20);

/// A token that is cancelled at the first SIGINT or SIGTERM. A second signal ends the process at once
/// with exit code 130: leases make that safe, it only costs their expiry.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: finishing what is in progress; a second signal stops at once");
        cancelled.cancel();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::warn!("stopped at once by a second signal");
        std::process::exit(130);
    });
    Ok(token)
}
