//! Listeners: made, changed, switched on and off, given a new secret.

use std::time::Duration;

use async_graphql::connection::Connection;
use async_graphql::{Context, ID, Json, Object, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::listener::{self, NewListener, SECRET_GRACE, SaveError};
use rules::access::{InTenant, Title};
use rules::id::ListenerId;
use rules::listener::Path;
use secrecy::ExposeSecret;
use serde_json::Value;
use uuid::Uuid;

use super::page::Page;
use super::scope::{app, enter, parse};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::{Fault, InputFault};

/// Hears deliveries at `/hooks/{tenant}/{path}` and sends them through its pipeline.
#[derive(SimpleObject)]
pub(crate) struct Listener {
    /// Its id.
    id: ID,
    /// Where it listens, below its tenant.
    path: String,
    /// Its name for people.
    title: String,
    /// Whether it takes deliveries.
    active: bool,
    /// Its actions, in order.
    pipeline: Json<Value>,
    /// Counts edits of the pipeline; the first is 1.
    version: i32,
    /// Until when the secret before the present one is accepted too; null when none is.
    old_secret_until: Option<DateTime<Utc>>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

/// A listener with its secret.
#[derive(SimpleObject)]
pub(crate) struct ListenerSecretPayload {
    /// Signs deliveries, after Standard Webhooks. Shown here and never again.
    secret: String,
    /// The listener.
    listener: Listener,
}

impl From<listener::Listener> for Listener {
    fn from(l: listener::Listener) -> Self {
        Self {
            id: l.id.into(),
            path: l.path,
            title: l.title,
            active: l.active,
            pipeline: Json(l.pipeline),
            version: l.version,
            old_secret_until: l.old_secret_until,
            created_at: l.created_at,
            updated_at: l.updated_at,
        }
    }
}

impl From<SaveError> for Fault {
    fn from(error: SaveError) -> Self {
        let told = error.to_string();
        match error {
            SaveError::House(error) => error.into(),
            SaveError::Faults(faults) => Self::BadInputs(told, faults.into_iter().map(of_pipeline).collect()),
        }
    }
}

fn of_pipeline(fault: rules::listener::Fault) -> InputFault {
    InputFault::of(&fault.field, None, fault.message)
}

/// A listener that is not made, with all that is wrong with it.
fn all_of(faults: Vec<InputFault>) -> Fault {
    let told: Vec<String> = faults.iter().map(|f| format!("`{}`: {}", f.field, f.message)).collect();
    Fault::BadInputs(format!("the listener has {} fault(s): {}", faults.len(), told.join("; ")), faults)
}

/// What can be read of listeners.
#[derive(Default)]
pub(crate) struct ListenerQuery;

/// What can be done with listeners.
#[derive(Default)]
pub(crate) struct ListenerMutation;

#[Object]
impl ListenerQuery {
    /// One listener.
    #[graphql(guard = "SignedIn")]
    async fn listener(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        id: ID,
    ) -> Result<Listener, Fault> {
        let id = parse::<ListenerId>(&id, "id")?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        Ok(listener::get(&mut conn, scope.tenant, id).await?.into())
    }

    /// A tenant's listeners, newest first.
    #[graphql(guard = "SignedIn")]
    async fn listeners(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key.")] tenant: Option<ID>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<String, Listener>, Fault> {
        let page = Page::<Uuid>::read("listeners", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let scope = enter(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let rows = listener::page(&mut conn, scope.tenant, page.after.map(ListenerId), page.limit()).await?;
        Ok(page.of(rows, |l| l.id, Listener::from))
    }
}

#[Object]
impl ListenerMutation {
    /// Makes a listener, active at once. What is wrong with its path, its title and its pipeline is told all at once,
    /// in `extensions.faults`.
    #[graphql(guard = "SignedIn")]
    async fn create_listener(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        #[graphql(desc = "Where it listens, below its tenant.")] path: String,
        title: String,
        pipeline: Json<Value>,
    ) -> Result<ListenerSecretPayload, Fault> {
        let app = app(ctx);
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let (path, title) = match (path.parse::<Path>(), title.parse::<Title>()) {
            (Ok(path), Ok(title)) => (path, title),
            (path, title) => {
                let mut all = Vec::new();
                all.extend(path.err().map(|e| InputFault::of("path", None, e.to_string())));
                all.extend(title.err().map(|e| InputFault::of("title", None, e.to_string())));
                let pipeline = listener::faults(&mut tx, app.sandbox(), scope.tenant, &pipeline.0).await?;
                all.extend(pipeline.into_iter().map(of_pipeline));
                return Err(all_of(all));
            }
        };
        let new = NewListener { path: &path, title: &title, pipeline: &pipeline.0 };
        let (made, secret) =
            listener::create(&mut tx, app.keyring(), app.sandbox(), scope.tenant, &new).await?;
        tx.commit().await?;
        Ok(ListenerSecretPayload { secret: secret.expose_secret().to_owned(), listener: made.into() })
    }

    /// Gives a listener another pipeline, if it still is at the given version.
    #[graphql(guard = "SignedIn")]
    async fn update_listener(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        #[graphql(desc = "The version that was edited; a later one is not overwritten.")] version: i32,
        pipeline: Json<Value>,
    ) -> Result<Listener, Fault> {
        let id = parse::<ListenerId>(&id, "id")?;
        let app = app(ctx);
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let saved =
            listener::update_pipeline(&mut tx, app.sandbox(), scope.tenant, id, version, &pipeline.0).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Lets a listener take deliveries, or refuse them.
    #[graphql(guard = "SignedIn")]
    async fn set_listener_active(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        active: bool,
    ) -> Result<Listener, Fault> {
        let id = parse::<ListenerId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let saved = listener::set_active(&mut tx, scope.tenant, id, active).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Gives a listener another name.
    #[graphql(guard = "SignedIn")]
    async fn rename_listener(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        title: String,
    ) -> Result<Listener, Fault> {
        let id = parse::<ListenerId>(&id, "id")?;
        let title: Title = title.parse()?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let saved = listener::rename(&mut tx, scope.tenant, id, &title).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Gives a listener a new secret. The one before is accepted a while longer, so that no delivery is
    /// lost until the sender has the new one.
    #[graphql(guard = "SignedIn")]
    async fn rotate_listener_secret(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
        #[graphql(desc = "For how many hours the old one is accepted, 0 to 168; a day if not said.")]
        keep_old_hours: Option<u32>,
    ) -> Result<ListenerSecretPayload, Fault> {
        let id = parse::<ListenerId>(&id, "id")?;
        let grace = keep_old_hours.map_or(SECRET_GRACE, |h| Duration::from_hours(h.into()));
        let app = app(ctx);
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let (saved, secret) =
            listener::rotate_secret(&mut tx, app.keyring(), scope.tenant, id, grace).await?;
        tx.commit().await?;
        Ok(ListenerSecretPayload { secret: secret.expose_secret().to_owned(), listener: saved.into() })
    }

    /// Ends the secret before the present one now, as when it has leaked.
    #[graphql(guard = "SignedIn")]
    async fn end_old_listener_secret(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        id: ID,
    ) -> Result<Listener, Fault> {
        let id = parse::<ListenerId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        let saved = listener::end_old_secret(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        Ok(saved.into())
    }

    /// Deletes a listener with all that it heard.
    #[graphql(guard = "SignedIn")]
    async fn delete_listener(&self, ctx: &Context<'_>, tenant: Option<ID>, id: ID) -> Result<bool, Fault> {
        let id = parse::<ListenerId>(&id, "id")?;
        let mut tx = audit::begin(ctx).await?;
        let scope = enter(ctx, &mut tx, tenant.as_ref(), InTenant::Manage).await?;
        listener::delete(&mut tx, scope.tenant, id).await?;
        tx.commit().await?;
        Ok(true)
    }
}
