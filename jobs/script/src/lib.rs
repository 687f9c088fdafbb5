//! The script sandbox.
