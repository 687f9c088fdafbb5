//! Why an operation has not begun, decided from its host and from its job.

use std::fmt;

use super::Reach;
use crate::queue::Why;

/// What is known of an operation that has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitFacts {
    /// Somebody drains its host.
    pub draining: bool,
    /// A worker holds its host.
    pub held: bool,
    /// What that worker reported last.
    pub reach: Reach,
    /// Why its job waits, by the queue alone; none when the job is gone.
    pub job: Option<Why>,
}

/// Why an operation has not begun, the most telling reason first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyWaits {
    /// It has begun: a worker has it.
    Running,
    /// Its host is being drained.
    HostDraining,
    /// No worker holds its host.
    HostNotHeld,
    /// The worker that holds its host cannot connect to the hypervisor.
    HostUnreachable,
    /// Its host's hypervisor does not answer in time.
    HostDegraded,
    /// What the queue says.
    Job(Why),
    /// Its job is gone, and nothing will become of it.
    JobLost,
}

impl WhyWaits {
    /// The reason for these facts.
    pub fn of(facts: &WaitFacts) -> Self {
        match &facts.job {
            None => Self::JobLost,
            Some(Why::Running) => Self::Running,
            // Another operation of the machine goes first, wherever the host is: that one waits for the host.
            Some(why @ (Why::KeyBusy(_) | Why::NotDue(_) | Why::Retrying(_))) => Self::Job(why.clone()),
            Some(_) if facts.draining => Self::HostDraining,
            Some(_) if !facts.held => Self::HostNotHeld,
            Some(why) => match facts.reach {
                Reach::Unreachable => Self::HostUnreachable,
                Reach::Degraded => Self::HostDegraded,
                Reach::Online => Self::Job(why.clone()),
            },
        }
    }

    /// The stable code that programs read.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::HostDraining => "HOST_DRAINING",
            Self::HostNotHeld => "HOST_NOT_HELD",
            Self::HostUnreachable => "HOST_UNREACHABLE",
            Self::HostDegraded => "HOST_DEGRADED",
            Self::Job(why) => why.code(),
            Self::JobLost => "JOB_LOST",
        }
    }
}

impl fmt::Display for WhyWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("a worker has it"),
            Self::HostDraining => {
                f.write_str("its host is being drained; resume the host or move the machine")
            }
            Self::HostNotHeld => f.write_str("no worker holds its host; start one for it"),
            Self::HostUnreachable => {
                f.write_str("the worker of its host cannot connect to the hypervisor; look at the hypervisor")
            }
            Self::HostDegraded => {
                f.write_str("its host's hypervisor does not answer in time; look at the hypervisor")
            }
            Self::Job(why) => why.fmt(f),
            Self::JobLost => f.write_str("its job is gone; ask for it again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_blamed_only_for_what_it_keeps_waiting() {
        let facts =
            WaitFacts { draining: false, held: true, reach: Reach::Online, job: Some(Why::InLine(0)) };
        assert_eq!(WhyWaits::of(&facts), WhyWaits::Job(Why::InLine(0)));
        assert_eq!(WhyWaits::of(&WaitFacts { held: false, ..facts.clone() }), WhyWaits::HostNotHeld);
        let drained = WaitFacts { draining: true, job: Some(Why::QueuePaused), ..facts.clone() };
        assert_eq!(WhyWaits::of(&drained), WhyWaits::HostDraining);
        let behind = WaitFacts { job: Some(Why::KeyBusy(7)), ..drained };
        assert_eq!(WhyWaits::of(&behind), WhyWaits::Job(Why::KeyBusy(7)));
        let hung = WaitFacts { reach: Reach::Degraded, ..facts.clone() };
        assert_eq!(WhyWaits::of(&hung), WhyWaits::HostDegraded);
        assert_eq!(WhyWaits::of(&WaitFacts { job: None, ..facts }), WhyWaits::JobLost);
    }
}
