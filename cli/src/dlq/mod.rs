//! `millrace dlq`: dead letters.

mod command;
mod run;
mod sweep;

pub(crate) use command::Dlq;
pub(crate) use run::run;
