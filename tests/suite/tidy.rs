//! Enforces the laws of the house that the compiler cannot see.
