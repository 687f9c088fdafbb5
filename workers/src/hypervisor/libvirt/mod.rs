//! Hosts that libvirt runs. Nothing outside this room names it.
//!
//! Every call blocks, so each goes to a thread of its own kind with a deadline ([`line`]); what is done in
//! one call stands in [`domain`], [`snapshot`], [`volume`] and [`figures`]; one task per host keeps a
//! connection of its own, hears events and knows how the host stands ([`watch`]).

mod domain;
mod domain_read;
mod domain_xml;
mod error;
mod event_loop;
mod figures;
mod host;
mod line;
mod listen;
mod snapshot;
mod turns;
mod volume;
mod watch;

pub use domain_xml::{Platform, domain_xml};
pub use host::{Libvirt, LibvirtSettings};
