//! Operations on machines from a mutation over HTTP to the call of libvirt's own test driver: how many a second, how soon
//! the call is made, in what order, and how well the leases of the hosts are kept meanwhile.

mod caller;
mod clocked;
mod measure;
mod phases;
mod run;
mod stage;

pub(crate) use measure::measure;
