//! Why an operation has not begun: for what its job waits, or because that is gone.

use std::fmt;

use crate::queue::Why;

/// Why an operation has not begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyWaits {
    /// For what its job waits.
    Job(Why),
    /// Its job is gone, and nothing will become of it.
    JobLost,
}

impl WhyWaits {
    /// The reason, by that of its job; none when the job is gone.
    pub fn of(job: Option<Why>) -> Self {
        job.map_or(Self::JobLost, Self::Job)
    }

    /// The stable code that programs read.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Job(why) => why.code(),
            Self::JobLost => "JOB_LOST",
        }
    }
}

impl fmt::Display for WhyWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(why) => why.fmt(f),
            Self::JobLost => f.write_str("its job is gone; ask for it again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_job_is_told_as_such() {
        assert_eq!(WhyWaits::of(Some(Why::InLine(2))).code(), "IN_LINE");
        assert_eq!(WhyWaits::of(None).code(), "JOB_LOST");
    }
}
