//! Notices: what listeners heard, what became of it, and once more.

use async_graphql::connection::Connection;
use async_graphql::{ComplexObject, Context, ID, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::listener::buffer::{self, BufferEvent};
use jobs::listener::notice::{self, store};
use rules::access::InTenant;
use rules::id::{ListenerId, NoticeId, TenantId};
use rules::listener::BufferName;
use serde_json::Value;
use uuid::Uuid;

use super::loader::{ActionsOf, look_up};
use super::page::Page;
use super::scope::{app, enter, parse, trace_parent};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::Fault;

/// One event that a listener heard.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Notice {
    /// Its id.
    id: ID,
    #[graphql(skip)]
    tenant: TenantId,
    /// Who heard it.
    listener: ID,
    /// What its sender calls it; a second delivery under it changes nothing.
    delivery_id: String,
    /// When it was heard.
    received_at: DateTime<Utc>,
    /// Those of its headers that are kept.
    headers: Json<Value>,
    /// The event as it came.
    event: Json<Value>,
    /// What the transform made of it.
    transformed: Option<Json<Value>>,
    /// RECEIVED, DISPATCHED, DROPPED or DEAD.
    state: String,
    /// How often it was sent through the pipeline again.
    replay: i32,
    /// Why it is dead, or why it was dropped where its transform did not do that.
    error: Option<String>,
    /// When its transform came to an end, the last time.
    settled_at: Option<DateTime<Utc>>,
}

/// One action of the pipeline for one notice.
#[derive(SimpleObject)]
pub(crate) struct NoticeAction {
    /// The action.
    action: ID,
    /// Which time through the pipeline; 0 is the first.
    replay: i32,
    /// What it does, such as `trigger_workflow`.
    kind: String,
    /// QUEUED, DONE, SKIPPED or DEAD.
    state: String,
    /// The run that it started.
    run: Option<ID>,
    /// Why it is dead, or was skipped where its pipeline does not say that.
    error: Option<String>,
    /// When it came to an end.
    settled_at: Option<DateTime<Utc>>,
}

/// An event that a listener keeps for whoever reads it.
#[derive(SimpleObject)]
pub(crate) struct BufferedEvent {
    /// Its place in the order of arrival, with gaps.
    id: ID,
    /// The notice that it was.
    notice: ID,
    /// When it was stored.
    stored_at: DateTime<Utc>,
    /// The event.
    event: Json<Value>,
}

impl From<notice::Notice> for Notice {
    fn from(n: notice::Notice) -> Self {
        Self {
            id: n.id.into(),
            tenant: TenantId(n.tenant_id),
            listener: n.listener_id.into(),
            delivery_id: n.delivery_id,
            received_at: n.received_at,
            headers: Json(n.headers),
            event: Json(n.event),
            transformed: n.transformed.map(Json),
            state: n.state,
            replay: n.replay,
            error: n.error,
            settled_at: n.settled_at,
        }
    }
}

impl From<notice::ActionRecord> for NoticeAction {
    fn from(a: notice::ActionRecord) -> Self {
        Self {
            action: a.action_id.into(),
            replay: a.replay,
            kind: a.kind,
            state: a.state,
            run: a.run_id.map(Into::into),
            error: a.error,
            settled_at: a.settled_at,
        }
    }
}

impl From<BufferEvent> for BufferedEvent {
    fn from(e: BufferEvent) -> Self {
        Self { id: e.id.into(), notice: e.notice_id.into(), stored_at: e.stored_at, event: Json(e.event) }
    }
}

#[ComplexObject]
impl Notice {
    /// What became of each action, the latest time through the pipeline first.
    async fn actions(&self, ctx: &Context<'_>) -> Result<Vec<NoticeAction>, Fault> {
        let id = parse::<NoticeId>(&self.id, "id")?;
        let actions = look_up(ctx, ActionsOf(self.tenant, id)).await?;
        Ok(actions.unwrap_or_default().into_iter().map(Into::into).collect())
    }
}

/// What can be read of notices.
#[derive(Default)]
pub(crate) struct NoticeQuery;

/// What can be done with notices.
#[derive(Default)]
pub(crate) struct NoticeMutation;

#[Object]
impl NoticeQuery {
    /// One notice.
    #[graphql(guard = "SignedIn")]
    async fn notice(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        id: ID,
    ) -> Result<Notice, Fault> {
        let id = parse::<NoticeId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(store::get(&mut conn, scope.tenant, id).await?.into())
    }

    /// A tenant's notices, newest first.
    #[graphql(guard = "SignedIn")]
    async fn notices(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        #[graphql(desc = "Only those of this listener.")] listener: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Notice>, Fault> {
        let page = Page::<Uuid>::read("notices", first, after.as_deref())?;
        let listener = listener.map(|id| parse::<ListenerId>(&id, "listener")).transpose()?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let before = page.after.map(NoticeId);
        let rows = store::page(&mut conn, scope.tenant, listener, before, page.limit()).await?;
        // What a deleted one heard is shown until it is gone; after that it is unknown, and told so.
        if let Some(listener) = listener.filter(|_| rows.is_empty()) {
            jobs::listener::get(&mut conn, scope.tenant, listener).await?;
        }
        Ok(page.of(rows, |n| n.id, Notice::from))
    }

    /// The events in a buffer of a listener, newest first.
    #[graphql(guard = "SignedIn")]
    async fn buffer_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        listener: ID,
        #[graphql(desc = "`default` unless given.")] buffer: Option<String>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, BufferedEvent>, Fault> {
        let page = Page::<i64>::read("bufferEvents", first, after.as_deref())?;
        let listener = parse::<ListenerId>(&listener, "listener")?;
        let name: Option<BufferName> = buffer.map(|b| b.parse()).transpose().map_err(Fault::BadInput)?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        // An unknown listener or buffer is told; an empty page would hide it.
        let found = jobs::listener::get(&mut conn, scope.tenant, listener).await?;
        buffer::require(&mut conn, &found, name.as_ref()).await?;
        let name = name.unwrap_or_default();
        let rows =
            buffer::store::page(&mut conn, scope.tenant, listener, &name, page.after, page.limit()).await?;
        Ok(page.of(rows, |e| e.id, BufferedEvent::from))
    }
}

#[Object]
impl NoticeMutation {
    /// Sends a notice through its listener's pipeline once more, as that is now.
    #[graphql(guard = "SignedIn")]
    async fn replay_notice(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<Notice, Fault> {
        let id = parse::<NoticeId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let trace = trace_parent(ctx).map(str::to_owned);
        let (_, enqueued) = jobs::listener::replay(&mut tx, scope.tenant, id, trace).await?;
        let notice = store::get(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        app(ctx).wake().send(&enqueued);
        Ok(notice.into())
    }
}
