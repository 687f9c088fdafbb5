//! Machines and the hosts that carry them: what is wanted, what is seen, and what to do about it.
//!
//! Nothing here speaks to a hypervisor. A worker observes, asks [`plan`] for the next step, takes it, and
//! observes again: success is judged by what is seen, never by what a call answered.

mod action;
mod admit;
mod deadline;
mod host;
mod identity;
mod name;
mod plan;
mod relocation;
mod seen;
mod spec;
mod uri;
mod why;

#[cfg(test)]
mod plan_tests;

pub use action::{Action, ActionName, OperationState, UnknownAction};
pub use admit::{Admission, Pending, Refused, Simply, admit, simply};
pub use deadline::{DEGRADED_WITHIN, Errand, KEEPS_SLOT, LISTING_ENDS, PATIENCE, PROBE_EVERY, PROBE_WITHIN};
pub use host::{Capacity, HostFacts, HostState, Reach};
pub use identity::{Acquaintance, Known, called, free_it};
pub use name::{BadName, MAX_NAME_CHARS, Name};
pub use plan::{Call, Facts, Refusal, Stage, Step, plan};
pub use relocation::{Stays, Whereabouts};
pub use seen::{Seen, Wanted};
pub use spec::{BadSpec, Draft, MAX_DISK_GIB, MAX_MEMORY_MIB, MAX_VCPUS, MIN_MEMORY_MIB, Os, Spec};
pub use uri::{BadUri, HostUri, MAX_URI_BYTES};
pub use why::WhyWaits;
