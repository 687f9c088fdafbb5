//! `millrace audit`, and what operators' commands themselves tell the audit.

mod command;
mod note;
mod run;

pub(crate) use command::Audit;
pub(crate) use note::{note, operator};
pub(crate) use run::run;
