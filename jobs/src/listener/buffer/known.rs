//! Which buffers a listener has, and what is said of one that it has not.

use std::collections::BTreeSet;

use rules::id::{ListenerId, TenantId};
use rules::listener::{Act, BufferName, Pipeline};
use rules::nearest;
use sqlx::PgConnection;
use uuid::Uuid;

use super::store;
use crate::listener::Listener;
use crate::{Error, Result};

/// Refuses the name of a buffer that a listener neither fills nor has filled: its empty list would hide the slip.
/// The name that nobody said goes through where there is no buffer at all.
///
/// # Errors
/// Invalid for such a name, with those that there are; Unavailable when nobody answers.
pub async fn require(conn: &mut PgConnection, listener: &Listener, name: Option<&BufferName>) -> Result<()> {
    let (tenant, id) = (TenantId(listener.tenant_id), ListenerId(listener.id));
    let mut known: BTreeSet<String> = store::names(conn, tenant, id).await?.into_iter().collect();
    if let Ok(pipeline) = Pipeline::parse(&listener.pipeline, None, Uuid::now_v7) {
        known.extend(pipeline.actions.iter().filter_map(|action| match &action.act {
            Act::SaveToBuffer { buffer, .. } => Some(buffer.as_str().to_owned()),
            Act::TriggerWorkflow { .. } => None,
        }));
    }
    let wanted = name.cloned().unwrap_or_default();
    if known.contains(wanted.as_str()) || (name.is_none() && known.is_empty()) {
        return Ok(());
    }
    let names: Vec<&str> = known.iter().map(String::as_str).collect();
    let told = nearest::instead(
        wanted.as_str(),
        &names,
        "its pipeline has no `save_to_buffer`, and nothing is kept",
    );
    Err(Error::invalid(format!("the listener has no buffer `{}`; {told}", wanted.as_str())))
}
