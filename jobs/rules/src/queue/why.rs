//! Why a job waits, decided from what is known of it, its queue and the workers.

use std::fmt;

use chrono::{DateTime, Utc};

use super::{HostDown, Standing, State};

/// Why a scheduled job stands at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delay {
    /// Whoever enqueued it asked for that.
    #[default]
    Asked,
    /// It failed, and its next attempt keeps a distance.
    Failed,
    /// Its attempt could not be made, which is not counted as one.
    PutOff,
}

/// What is known of a live job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where it is.
    pub state: State,
    /// Its queue is paused.
    pub queue_paused: bool,
    /// A worker that serves its pool was seen lately.
    pub pool_served: bool,
    /// Such a worker knows its kind.
    pub kind_known: bool,
    /// The job that holds its order key.
    pub key_head: Option<i64>,
    /// What is known of the host in whose pool it stands, if it stands in a host's.
    pub host: Option<Standing>,
    /// When it falls due.
    pub run_at: Option<DateTime<Utc>>,
    /// That time has come, by the database's clock.
    pub due: bool,
    /// Why it falls due no earlier.
    pub delay: Delay,
    /// Ready entries that will be claimed before it, counted up to a bound.
    pub ahead: i64,
}

/// Why a job waits, the most telling reason first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Its queue is paused; nothing of it is claimed until somebody resumes it.
    QueuePaused,
    /// It is not due.
    NotDue(DateTime<Utc>),
    /// It failed and will be tried again.
    Retrying(DateTime<Utc>),
    /// What it needs was not to be had, so that its attempt was put off.
    PutOff(DateTime<Utc>),
    /// Another job of its order key goes first.
    KeyBusy(i64),
    /// It stands in the pool of a host that begins nothing.
    HostDown(HostDown),
    /// No worker serves its pool.
    NoWorker,
    /// Workers serve its pool, and none knows its kind.
    KindUnknown,
    /// It is ready, and this many go first.
    InLine(i64),
    /// A worker has it: it does not wait.
    Running,
}

impl Why {
    /// The reason for these facts; none when the job has ended.
    pub fn of(facts: &Facts) -> Option<Self> {
        let paused = facts.queue_paused.then_some(Self::QueuePaused);
        // Said before that its queue is paused: whoever drains a host pauses it.
        let down = facts.host.as_ref().and_then(HostDown::of);
        match facts.state {
            State::Leased => Some(Self::Running),
            State::Scheduled if !facts.due => {
                let told = match facts.delay {
                    Delay::Asked => Self::NotDue,
                    Delay::Failed => Self::Retrying,
                    Delay::PutOff => Self::PutOff,
                };
                facts.run_at.map(told)
            }
            // It stands behind the head as soon as nobody holds the key; a retry is the head itself.
            State::Scheduled if facts.delay == Delay::Asked && facts.key_head.is_some() => {
                facts.key_head.map(Self::KeyBusy)
            }
            // Wherever its host is: the job that goes first waits for the host.
            State::Blocked => Some(Self::KeyBusy(facts.key_head.unwrap_or_default())),
            State::Ready | State::Scheduled if down.is_some() => down.map(Self::HostDown),
            State::Ready | State::Scheduled if !facts.pool_served => paused.or(Some(Self::NoWorker)),
            State::Ready | State::Scheduled if !facts.kind_known => paused.or(Some(Self::KindUnknown)),
            State::Ready | State::Scheduled => paused.or(Some(Self::InLine(facts.ahead))),
            State::Done | State::Cancelled | State::Dead => None,
        }
    }

    /// The stable code that programs read.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::QueuePaused => "QUEUE_PAUSED",
            Self::NotDue(_) => "NOT_DUE",
            Self::Retrying(_) => "RETRYING",
            Self::PutOff(_) => "PUT_OFF",
            Self::KeyBusy(_) => "KEY_BUSY",
            Self::HostDown(down) => down.code(),
            Self::NoWorker => "NO_WORKER",
            Self::KindUnknown => "KIND_UNKNOWN",
            Self::InLine(_) => "IN_LINE",
            Self::Running => "RUNNING",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueuePaused => f.write_str("its queue is paused; resume it"),
            Self::NotDue(time) => write!(f, "it is not due until {}", time.to_rfc3339()),
            Self::Retrying(time) => {
                write!(f, "its last attempt failed; it is tried again at {}", time.to_rfc3339())
            }
            Self::PutOff(time) => {
                write!(f, "what it needs was not to be had; it is looked at again at {}", time.to_rfc3339())
            }
            Self::KeyBusy(head) => write!(f, "job {head} holds its order key and goes first"),
            Self::HostDown(down) => down.fmt(f),
            Self::NoWorker => f.write_str("no worker serves its pool; start one"),
            Self::KindUnknown => f.write_str("no worker of its pool knows its kind; start a newer one"),
            Self::InLine(0) => f.write_str("it is next in line"),
            Self::InLine(ahead) => write!(f, "{ahead} ready jobs go first"),
            Self::Running => f.write_str("a worker has it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Reach;
    use crate::queue::Class;

    fn facts(state: State) -> Facts {
        Facts {
            state,
            queue_paused: false,
            pool_served: true,
            kind_known: true,
            key_head: None,
            host: None,
            run_at: None,
            due: false,
            delay: Delay::Asked,
            ahead: 0,
        }
    }

    #[test]
    fn the_host_is_blamed_only_for_what_it_keeps_waiting() {
        let host = Standing {
            host: "a".into(),
            class: Class::Vm,
            draining_at: None,
            held: false,
            left_at: None,
            stranger: false,
            reach: Reach::Online,
            reach_since: None,
        };
        let code = |facts: &Facts| Why::of(facts).map(|why| why.code());
        let ready = Facts { host: Some(host.clone()), queue_paused: true, ..facts(State::Ready) };
        assert_eq!(code(&ready), Some("HOST_NOT_HELD"));
        let served = Facts { host: Some(Standing { held: true, ..host }), ..ready.clone() };
        assert_eq!(code(&served), Some("QUEUE_PAUSED"));
        let behind = Facts { state: State::Blocked, key_head: Some(7), ..ready.clone() };
        assert_eq!(Why::of(&behind), Some(Why::KeyBusy(7)));
        assert_eq!(code(&Facts { state: State::Leased, ..ready }), Some("RUNNING"));
    }

    #[test]
    fn the_most_telling_reason_is_given() {
        let ready = facts(State::Ready);
        assert_eq!(Why::of(&ready), Some(Why::InLine(0)));
        assert_eq!(Why::of(&Facts { pool_served: false, ..ready.clone() }), Some(Why::NoWorker));
        assert_eq!(Why::of(&Facts { kind_known: false, ..ready.clone() }), Some(Why::KindUnknown));
        assert_eq!(
            Why::of(&Facts { queue_paused: true, pool_served: false, ..ready }),
            Some(Why::QueuePaused)
        );
        let due = DateTime::UNIX_EPOCH;
        let later = Facts { run_at: Some(due), ..facts(State::Scheduled) };
        assert_eq!(Why::of(&later), Some(Why::NotDue(due)));
        let failed = Facts { delay: Delay::Failed, ..later.clone() };
        assert_eq!(Why::of(&failed), Some(Why::Retrying(due)));
        assert_eq!(Why::of(&Facts { delay: Delay::PutOff, ..later.clone() }), Some(Why::PutOff(due)));
        // No time that has passed is a reason.
        let overdue = Facts { due: true, ..later };
        assert_eq!(Why::of(&overdue), Some(Why::InLine(0)));
        assert_eq!(Why::of(&Facts { key_head: Some(7), ..overdue.clone() }), Some(Why::KeyBusy(7)));
        let retry = Facts { key_head: Some(7), delay: Delay::Failed, ..overdue.clone() };
        assert_eq!(Why::of(&retry), Some(Why::InLine(0)));
        assert_eq!(Why::of(&Facts { pool_served: false, ..overdue }), Some(Why::NoWorker));
        assert_eq!(Why::of(&Facts { key_head: Some(7), ..facts(State::Blocked) }), Some(Why::KeyBusy(7)));
        assert_eq!(Why::of(&facts(State::Leased)), Some(Why::Running));
        assert_eq!(Why::of(&facts(State::Dead)), None);
    }
}
