//! Says what whoever runs the tests must see, though they pass.

use std::io::Write;

/// Writes a text on lines of its own past the runner, which keeps what a test prints to itself unless it fails.
///
/// # Panics
/// When nothing can be written.
pub fn tell(text: &str) {
    let told = format!("\n{}\n", text.trim_end());
    std::io::stderr().lock().write_all(told.as_bytes()).expect("stderr can be written to");
}
