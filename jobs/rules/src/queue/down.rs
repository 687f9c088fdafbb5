//! How a host keeps the jobs waiting that stand in its pools: one decision, for jobs and for operations.

use std::fmt;

use chrono::{DateTime, Utc};

use super::Class;
use crate::machine::Reach;

/// What is known of the host in whose pool a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub host: String,
    /// Among which of its work the job is.
    pub class: Class,
    /// Since when it is drained, if it is.
    pub draining_at: Option<DateTime<Utc>>,
    /// Whether a worker holds it.
    pub held: bool,
    /// When the last hold on it ended, if there ever was one.
    pub left_at: Option<DateTime<Utc>>,
    /// Whether what answers its worker is another hypervisor than its own.
    pub stranger: bool,
    /// What its worker reported last.
    pub reach: Reach,
    /// Since when that is so, where it is known.
    pub reach_since: Option<DateTime<Utc>>,
}

/// What is the matter with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Somebody drains it.
    Draining,
    /// No worker holds it.
    NotHeld,
    /// The worker that holds it cannot connect to the hypervisor.
    Unreachable,
    /// Its hypervisor does not answer in time.
    Degraded,
    /// Another hypervisor than its own answers its worker.
    Stranger,
}

/// A host that keeps its jobs waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDown {
    /// Its name.
    pub host: String,
    /// What is the matter with it.
    pub trouble: Trouble,
    /// Since when, where it is known.
    pub since: Option<DateTime<Utc>>,
}

impl HostDown {
    /// What keeps the jobs of a host waiting; none when nothing of it does.
    pub fn of(standing: &Standing) -> Option<Self> {
        let (trouble, since) = match (standing.class, standing.draining_at) {
            // Checks and listings go on while a host is drained, as what passes a drain does: they start nothing.
            (Class::Vm, Some(at)) => (Trouble::Draining, Some(at)),
            (Class::Vm, None) | (Class::Health, _) if !standing.held => (Trouble::NotHeld, standing.left_at),
            (Class::Vm, None) | (Class::Health, _) if standing.stranger => {
                (Trouble::Stranger, standing.reach_since)
            }
            (Class::Vm, None) | (Class::Health, _) => match standing.reach {
                Reach::Online => return None,
                Reach::Unreachable => (Trouble::Unreachable, standing.reach_since),
                Reach::Degraded => (Trouble::Degraded, standing.reach_since),
            },
        };
        Some(Self { host: standing.host.clone(), trouble, since })
    }

    /// The stable code that programs read.
    pub const fn code(&self) -> &'static str {
        match self.trouble {
            Trouble::Draining => "HOST_DRAINING",
            Trouble::NotHeld => "HOST_NOT_HELD",
            Trouble::Unreachable => "HOST_UNREACHABLE",
            Trouble::Degraded => "HOST_DEGRADED",
            Trouble::Stranger => "HOST_STRANGER",
        }
    }
}

impl fmt::Display for HostDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        let since = self.since.map(|at| format!(" since {}", at.to_rfc3339())).unwrap_or_default();
        match self.trouble {
            Trouble::Draining => {
                write!(f, "its host `{host}` is being drained{since}; resume the host or move the machine")
            }
            Trouble::NotHeld => write!(f, "no worker holds its host `{host}`{since}; start one for it"),
            Trouble::Unreachable => write!(
                f,
                "the worker of its host `{host}` cannot connect to the hypervisor{since}; look at the hypervisor"
            ),
            Trouble::Stranger => write!(
                f,
                "another hypervisor answers the worker of its host `{host}` than the host is recorded with{since}; start \
                 that worker with the right address, or accept who answers: `millrace host show {host}` tells how"
            ),
            Trouble::Degraded => {
                write!(
                    f,
                    "the hypervisor of its host `{host}` does not answer in time{since}; look at the hypervisor"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_did_is_said_first_and_keeps_no_check_waiting() {
        let (drained, left, lost) =
            (DateTime::from_timestamp(1, 0), DateTime::from_timestamp(2, 0), DateTime::from_timestamp(3, 0));
        let well = Standing {
            host: "a".into(),
            class: Class::Vm,
            draining_at: None,
            held: true,
            left_at: left,
            stranger: false,
            reach: Reach::Online,
            reach_since: lost,
        };
        let told = |standing: &Standing| HostDown::of(standing).map(|down| (down.code(), down.since));
        assert_eq!(told(&well), None);
        let left_alone = Standing { held: false, draining_at: drained, ..well.clone() };
        assert_eq!(told(&left_alone), Some(("HOST_DRAINING", drained)));
        assert_eq!(told(&Standing { class: Class::Health, ..left_alone }), Some(("HOST_NOT_HELD", left)));
        assert_eq!(told(&Standing { class: Class::Health, draining_at: drained, ..well.clone() }), None);
        let mistaken = Standing { stranger: true, reach: Reach::Unreachable, ..well.clone() };
        assert_eq!(told(&mistaken), Some(("HOST_STRANGER", lost)));
        for (reach, code) in [(Reach::Unreachable, "HOST_UNREACHABLE"), (Reach::Degraded, "HOST_DEGRADED")] {
            let away = Standing { reach, ..well.clone() };
            assert_eq!(told(&away), Some((code, lost)));
            let text = HostDown::of(&away).map(|down| down.to_string()).unwrap_or_default();
            assert!(text.contains("`a`") && text.contains("since 1970-01-01T00:00:03"), "{text}");
        }
    }
}
