//! `millrace dlq`: dead letters.

mod command;
mod run;

pub(crate) use command::Dlq;
pub(crate) use run::run;
