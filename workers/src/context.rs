//! All that a handler may reach.

use std::sync::{Arc, Mutex, PoisonError};

use jobs::dag::Graphs;
use jobs::dag::patrol::Beat;
use jobs::db::PgPool;
use jobs::queue::Wake;
use rules::access::Wildcard;
use rules::health::Thresholds;
use script::{Limits, Sandbox};

use crate::host::Hosts;

/// All that a handler may reach.
pub struct Context {
    /// The database.
    pub db: PgPool,
    /// Wakes workers after a commit.
    pub wake: Wake,
    /// Runs scripts.
    pub sandbox: Arc<Sandbox>,
    /// The graphs of pinned workflows.
    pub graphs: Arc<Graphs>,
    /// How far the patrol over runs has come in this process.
    pub beat: Mutex<Beat>,
    /// The hosts that this process serves; filled when the worker starts.
    pub hosts: Hosts,
    /// From which figures on the health of a machine is no longer good; taken from the settings when the
    /// worker starts.
    pub thresholds: Thresholds,
    /// How `*` in grants is read; taken from the settings when the worker starts.
    pub wildcard: Wildcard,
}

impl Context {
    /// A context over these connections, with the default limits of scripts.
    pub fn new(db: PgPool, wake: Wake) -> Self {
        Self {
            db,
            wake,
            sandbox: Arc::new(Sandbox::new(Limits::default())),
            graphs: Arc::default(),
            beat: Mutex::default(),
            hosts: Hosts::default(),
            thresholds: Thresholds::default(),
            wildcard: Wildcard::default(),
        }
    }

    /// How far the patrol over runs has come in this process.
    pub(crate) fn beat(&self) -> Beat {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how far it has come.
    pub(crate) fn went(&self, beat: Beat) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = beat;
    }
}
