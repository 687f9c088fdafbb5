//! libvirt's event loop: one thread of this process that carries events and keepalives of all connections.

use std::sync::OnceLock;
use std::time::Duration;

/// How long to rest after the loop failed, so that a lasting fault does not spin.
const REST: Duration = Duration::from_millis(100);

/// Starts the loop, once per process. It must be there before the first connection is opened.
///
/// # Errors
/// libvirt's or the system's words, when it cannot be started; no host can then be served.
pub(super) fn start() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            // Or libvirt prints every error to the terminal, those that are expected too.
            virt::error::clear_error_callback();
            virt::event::event_register_default_impl().map_err(|error| error.to_string())?;
            std::thread::Builder::new()
                .name("libvirt-events".to_owned())
                .spawn(|| {
                    loop {
                        if let Err(error) = virt::event::event_run_default_impl() {
                            tracing::warn!(%error, "libvirt's event loop failed once; it goes on");
                            std::thread::sleep(REST);
                        }
                    }
                })
                .map_err(|error| error.to_string())?;
            Ok(())
        })
        .clone()
}
