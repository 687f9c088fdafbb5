//! What came of faults, as a table.

use crate::machine::ledger::Ended;

/// What came of one kind of fault.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) fault: String,
    pub(super) faults: usize,
    pub(super) operations: usize,
    /// Ended as impossible, with the reason.
    pub(super) failed: usize,
    /// Accepted, and gone or without an end.
    pub(super) lost: usize,
    /// Acts that took effect twice for one operation.
    pub(super) twice: usize,
    /// Operations that began, or took effect, before those that were asked for before them.
    pub(super) disorder: usize,
}

impl Row {
    /// Adds what became of an operation that was accepted.
    pub(super) fn count(&mut self, ended: Option<&Ended>) {
        self.operations += 1;
        match ended.map(|ended| (ended.state.as_str(), ended.error.as_deref())) {
            Some(("SUCCEEDED", None)) => {}
            Some(("FAILED", Some(error))) if !error.is_empty() => {
                eprintln!("{}: failed: {error}", self.fault);
                self.failed += 1;
            }
            _ => self.lost += 1,
        }
    }
}

/// Shows these rows to whoever runs the tests.
pub(super) fn tell(title: &str, rows: &[Row]) {
    let mut table = format!("{title:<50} faults operations failed lost run twice out of order");
    for Row { fault, faults, operations, failed, lost, twice, disorder } in rows {
        table += &format!(
            "\n{fault:<50} {faults:>6} {operations:>10} {failed:>6} {lost:>4} {twice:>9} {disorder:>12}"
        );
    }
    tests::tell(&table);
}
