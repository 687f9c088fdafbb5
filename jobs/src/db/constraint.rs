//! Tells which named constraint a statement ran into, so that the caller can say it in the user's words.

/// Whether the statement failed by this constraint or unique index.
pub fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    matches!(error, sqlx::Error::Database(e) if e.constraint() == Some(constraint))
}
