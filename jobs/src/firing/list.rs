//! The closed list of what a firing can have come to.

/// What a firing has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FiringState {
    /// Its job waits.
    Queued,
    /// Its run is under way.
    Started,
    /// Its run ended well.
    Success,
    /// No run could be started, or the last ended badly or took too long.
    Failure,
    /// Somebody cancelled its run.
    Cancelled,
    /// Its ticks were missed, and are not made up for.
    Missed,
}

impl FiringState {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Started, Self::Success, Self::Failure, Self::Cancelled, Self::Missed];

    /// The name in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Cancelled => "CANCELLED",
            Self::Missed => "MISSED",
        }
    }

    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}
