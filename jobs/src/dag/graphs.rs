//! Graphs of pinned versions, built once per process: a version never changes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use rules::dag::{Graph, rebuild};
use rules::id::WorkflowId;
use sqlx::PgConnection;

use crate::workflow::store::version;
use crate::{Error, Result};

/// The most graphs that are kept; the one that was built first goes first.
const KEPT: usize = 256;

/// The graphs of this process.
#[derive(Debug, Default)]
pub struct Graphs {
    kept: Mutex<VecDeque<(Pinned, Arc<Graph>)>>,
}

/// A workflow and its version.
type Pinned = (WorkflowId, i32);

impl Graphs {
    /// The graph of a version.
    ///
    /// # Errors
    /// NotFound for an unknown version; Internal when what was saved can no longer be read.
    pub async fn get(
        &self,
        conn: &mut PgConnection,
        workflow: WorkflowId,
        number: i32,
    ) -> Result<Arc<Graph>> {
        if let Some(graph) = self.look_up((workflow, number)) {
            return Ok(graph);
        }
        let definition = version(conn, workflow, number).await?.definition;
        let graph = rebuild(&definition).map_err(|faults| {
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            Error::internal(format!(
                "version {number} of workflow `{workflow}` cannot be read any more: {first}"
            ))
        })?;
        let graph = Arc::new(graph);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(((workflow, number), Arc::clone(&graph)));
        Ok(graph)
    }

    fn look_up(&self, key: Pinned) -> Option<Arc<Graph>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(k, _)| *k == key).map(|(_, graph)| Arc::clone(graph))
    }
}
