//! Leases by name: one holder among any number of processes, by the database's clock, with an epoch.
//!
//! A lease says who may act; the epoch makes it true. Whoever acts under a lease ends its transaction
//! with [`fence`], which holds the lease's row until the commit: a holder that lost the lease while it
//! hung is refused there, and a new one cannot come in between.

mod store;

pub use store::{Claim, Holding, SCHEDULER, acquire, fence, holding, release, renew};
