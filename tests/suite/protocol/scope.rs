//! Which jobs there are in a search, and what may happen to them: all at once would be too many states.

/// A job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sort {
    /// Whether it has the order key.
    pub(crate) keyed: bool,
    /// Whether it is put in for later.
    pub(crate) delayed: bool,
}

/// A plain job.
pub(crate) const PLAIN: Sort = Sort { keyed: false, delayed: false };
/// A job with the order key.
pub(crate) const KEYED: Sort = Sort { keyed: true, delayed: false };
/// A job with the order key, put in for later.
pub(crate) const DELAYED: Sort = Sort { keyed: true, delayed: true };

/// What an attempt comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Retry,
    Fatal,
    Snooze,
    Cancelled,
    Released,
}

/// The bounds of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    pub(crate) name: &'static str,
    pub(crate) sorts: &'static [Sort],
    /// What attempts may come to.
    pub(crate) ends: &'static [End],
    /// Whether jobs are cancelled.
    pub(crate) cancels: bool,
    /// Whether the dead are redriven, each once.
    pub(crate) redrives: bool,
    /// Whether a crash of the server undoes claims.
    pub(crate) undoes: bool,
    pub(crate) max_attempts: u8,
    /// Under how many crashes a job is poison.
    pub(crate) poison: u8,
}

impl Scope {
    pub(crate) fn is_keyed(&self, job: u8) -> bool {
        self.sorts.get(usize::from(job)).is_some_and(|sort| sort.keyed)
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = u8> {
        (0..).zip(self.sorts).map(|(job, _)| job)
    }
}

const ALL_ENDS: &[End] = &[End::Done, End::Retry, End::Fatal, End::Snooze, End::Cancelled, End::Released];

/// One job, and all that can happen to it.
pub(crate) const ONE: Scope = Scope {
    name: "one job",
    sorts: &[PLAIN],
    ends: ALL_ENDS,
    cancels: true,
    redrives: true,
    undoes: true,
    max_attempts: 2,
    poison: 2,
};

/// A line of two, that are tried again and cancelled.
pub(crate) const TWO: Scope = Scope {
    name: "two jobs under one key, cancelled",
    sorts: &[KEYED, KEYED],
    ends: &[End::Done, End::Retry],
    cancels: true,
    redrives: false,
    undoes: false,
    max_attempts: 2,
    poison: 2,
};

/// A line of two, that die and are redriven.
pub(crate) const REDRIVEN: Scope = Scope {
    name: "two jobs under one key, redriven",
    sorts: &[KEYED, KEYED],
    ends: &[End::Done, End::Fatal],
    cancels: false,
    redrives: true,
    undoes: false,
    max_attempts: 1,
    poison: 2,
};

/// A line of three that forms while it moves.
pub(crate) const THREE: Scope = Scope {
    name: "three jobs under one key, one of them delayed",
    sorts: &[DELAYED, KEYED, KEYED],
    ends: &[End::Done],
    cancels: false,
    redrives: false,
    undoes: false,
    max_attempts: 1,
    poison: 2,
};
