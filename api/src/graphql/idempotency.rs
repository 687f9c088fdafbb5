//! Sees to it that a mutation that is sent again under its idempotency key is not done again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, OperationType, Selection};
use async_graphql::{Name, Value, Variables};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use jobs::db::{PgConnection, Postgres, Transaction, wall};
use jobs::idempotency::{self, Asked, Found};
use rules::access::{Principal, Role};
use rules::audit::INSTALLATION;
use rules::id::TenantId;
use rules::unique::canonical;
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::auth::Caller;
use crate::error::Fault;
use crate::state::App;

/// The header in which a client gives the key.
const KEY: &str = "idempotency-key";

/// The header of an answer that was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest key, in characters.
const MAX_KEY: usize = 255;

/// What becomes of a request.
pub(super) enum Begun {
    /// It is executed, and has no key.
    Keyless,
    /// It is executed under its key.
    Held(Held),
    /// It was executed before; this was its answer.
    Answered(String),
}

/// The key of a request that is being executed. Dropped without an answer, it is given back.
pub(super) struct Held {
    app: App,
    tenant: TenantId,
    id: Uuid,
    mark: Mark,
    open: bool,
}

/// Goes with what a request does: each of its transactions notes that it is done under the key.
#[derive(Clone)]
pub(crate) struct Mark {
    id: Uuid,
    done: Arc<AtomicBool>,
}

impl Mark {
    /// Notes in a transaction that is about to commit that something is done.
    ///
    /// # Errors
    /// Conflict where another has taken the key over, and nothing may be done any more; Unavailable when nobody
    /// answers.
    pub(crate) async fn note(&self, conn: &mut PgConnection) -> Result<(), Fault> {
        if idempotency::done(conn, self.id).await? {
            return Ok(());
        }
        Err(jobs::Error::conflict(
            "the request took so long that another took its idempotency key over; send it again",
        )
        .into())
    }

    /// Says that such a transaction was committed.
    pub(crate) fn committed(&self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Looks at the key of a request, if it has one and changes something: what is only read may be read again.
///
/// # Errors
/// [`Fault::BadInput`] for a key that is none, and without credentials; [`Fault::KeyTaken`] where something else was
/// asked under it; [`Fault::KeyBusy`] while it is under way; Conflict where its answer is lost.
pub(super) async fn begin(
    app: &App,
    headers: &HeaderMap,
    caller: &Caller,
    asked: (&str, &ExecutableDocument, &Variables, Option<&str>),
) -> Result<Begun, Fault> {
    let (query, document, variables, name) = asked;
    let Some(key) = key_of(headers)? else { return Ok(Begun::Keyless) };
    let Some(operation) = chosen(document, name).filter(|o| o.ty == OperationType::Mutation) else {
        return Ok(Begun::Keyless);
    };
    let Some(principal) = &caller.principal else {
        let told =
            "`Idempotency-Key` needs credentials, for keys are of whoever asks; send some, or leave it out";
        return Err(Fault::BadInput(told.into()));
    };
    let named = tenant_of(principal, operation, variables);
    let text = canonical(&json!({ "query": query, "variables": variables, "operationName": name }));
    let fingerprint = Sha256::digest(text.as_bytes());
    let actor = caller.actor();
    let (tenant, mut tx) = entered(app, principal, named).await?;
    let asked = Asked { tenant, principal: &actor, key, fingerprint: &fingerprint };
    let found = idempotency::begin(&mut tx, app.keyring(), &asked).await?;
    tx.commit().await?;
    match found {
        Found::Begun(id) => {
            let mark = Mark { id, done: Arc::default() };
            Ok(Begun::Held(Held { app: app.clone(), tenant, id, mark, open: true }))
        }
        Found::Answered(answer) => Ok(Begun::Answered(answer)),
        Found::Busy(after_s) => Err(Fault::KeyBusy(after_s)),
        Found::Other => Err(Fault::KeyTaken),
        Found::Lost => Err(jobs::Error::conflict(
            "the request was done under this idempotency key, and what was answered was not kept; look at what is there",
        )
        .into()),
    }
}

/// A transaction within the tenant in which a key is kept: the one that is named where whoever asks belongs to it, and
/// the installation otherwise. A stranger, whom the request refuses later, leaves nothing with those whom they named.
async fn entered(
    app: &App,
    principal: &Principal,
    named: TenantId,
) -> Result<(TenantId, Transaction<'static, Postgres>), Fault> {
    let mut tx = wall::begin_within(&app.db, named).await?;
    let belongs = match principal {
        Principal::Key { tenant, .. } => *tenant == named,
        Principal::User { .. } if named == INSTALLATION => true,
        Principal::User { id, role } => {
            let found = jobs::tenant::store::find(&mut tx, named, Some(*id)).await?;
            found.is_some_and(|found| found.role.is_some() || *role == Role::SuperAdmin)
        }
    };
    if belongs {
        return Ok((named, tx));
    }
    tx.rollback().await?;
    Ok((INSTALLATION, wall::begin_within(&app.db, INSTALLATION).await?))
}

impl Held {
    /// What goes with the request.
    pub(super) fn mark(&self) -> Mark {
        self.mark.clone()
    }

    /// Keeps the answer of what was done; gives the key back where nothing was. Once begun it is done to its end, though
    /// the client leaves.
    pub(super) async fn end(mut self, answer: &str) {
        self.open = false;
        let (app, tenant, id) = (self.app.clone(), self.tenant, self.id);
        let (done, answer) = (self.mark.done.load(Ordering::Relaxed), answer.to_owned());
        let kept = tokio::spawn(async move {
            if done { keep(&app, tenant, id, &answer).await } else { release(&app, tenant, id).await }
        });
        if let Err(error) = kept.await.unwrap_or_else(|broken| Err(jobs::Error::internal(broken))) {
            // The client has its answer; whoever sends the request again is told that it is lost, or waits.
            tracing::warn!(%error, "what was answered under an idempotency key was not kept");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        // The client went away or the time was up: what is sent again need not wait for the key's end.
        let (app, tenant, id) = (self.app.clone(), self.tenant, self.id);
        tokio::spawn(async move {
            if let Err(error) = release(&app, tenant, id).await {
                tracing::warn!(%error, "an idempotency key was not given back, and is free again when its time is over");
            }
        });
    }
}

/// Keeps what was answered.
async fn keep(app: &App, tenant: TenantId, id: Uuid, answer: &str) -> jobs::Result<()> {
    let mut tx = wall::begin_within(&app.db, tenant).await?;
    idempotency::keep(&mut tx, app.keyring(), tenant, id, answer).await?;
    Ok(tx.commit().await?)
}

/// Gives a key back under which nothing was done.
async fn release(app: &App, tenant: TenantId, id: Uuid) -> jobs::Result<()> {
    let mut tx = wall::begin_within(&app.db, tenant).await?;
    idempotency::release(&mut tx, tenant, id).await?;
    Ok(tx.commit().await?)
}

/// Says that an answer was given before.
pub(super) const fn replayed() -> HeaderValue {
    HeaderValue::from_static("true")
}

/// The key that a request gives, as it stands or in quotation marks.
fn key_of(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let mut all = headers.get_all(KEY).iter();
    let Some(given) = all.next() else { return Ok(None) };
    let text = given.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let well_formed = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if all.next().is_some() || !well_formed {
        let told = format!(
            "`Idempotency-Key` must be sent once and have 1 to {MAX_KEY} visible characters of ASCII"
        );
        return Err(Fault::BadInput(told));
    }
    Ok(Some(key))
}

fn chosen<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    let mut all = document.operations.iter().filter(|(n, _)| name.is_none() || n.map(Name::as_str) == name);
    all.next().map(|(_, operation)| &operation.node)
}

/// The tenant that a request names: that of the key that sends it, or the one of its fields if it is one.
fn tenant_of(principal: &Principal, operation: &OperationDefinition, variables: &Variables) -> TenantId {
    if let Principal::Key { tenant, .. } = principal {
        return *tenant;
    }
    let mut named = operation.selection_set.node.items.iter().filter_map(|selection| {
        let Selection::Field(field) = &selection.node else { return None };
        let value = field.node.get_argument("tenant")?.node.clone();
        let of_variable =
            |name| Ok::<_, std::convert::Infallible>(variables.get(&name).cloned().unwrap_or_default());
        match value.into_const_with(of_variable) {
            Ok(Value::String(id)) => id.parse::<TenantId>().ok(),
            Ok(_) => None,
            Err(never) => match never {},
        }
    });
    // Of several, or without any, the key is one of the installation's.
    let first = named.next();
    if named.all(|other| Some(other) == first) { first.unwrap_or(INSTALLATION) } else { INSTALLATION }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use rules::id::UserId;

    use super::*;

    #[test]
    fn a_key_is_sent_once_and_visible() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(KEY, HeaderValue::from_static(value));
            }
            key_of(&headers).map(|key| key.map(str::to_owned)).map_err(|fault| fault.to_string())
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["order-7"]), Ok(Some("order-7".into())));
        // As the draft of the header has it.
        assert_eq!(of(&["\"8e03978e-40d5\""]), Ok(Some("8e03978e-40d5".into())));
        for bad in [&["a", "a"][..], &[""], &["\"\""], &["a b"], &["a\tb"]] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_tenant_is_the_one_that_is_named() {
        let user = Principal::User { id: UserId(Uuid::nil()), role: Role::User };
        let id = |n: u128| Uuid::from_u128(n);
        let of = |query: &str, variables: serde_json::Value| {
            let document = parse_query(query).unwrap();
            let operation = chosen(&document, None).unwrap();
            tenant_of(&user, operation, &Variables::from_json(variables)).0
        };
        let both = "mutation($t: ID!, $u: ID!) { a(tenant: $t) b(tenant: $u) }";
        assert_eq!(of("mutation($t: ID!) { a(tenant: $t) }", json!({"t": id(7)})), id(7));
        assert_eq!(of(&format!("mutation {{ a(tenant: \"{}\") }}", id(8)), json!({})), id(8));
        assert_eq!(of(both, json!({"t": id(7), "u": id(7)})), id(7));
        assert_eq!(of(both, json!({"t": id(7), "u": id(8)})), Uuid::nil());
        assert_eq!(of("mutation { a }", json!({})), Uuid::nil());
        assert_eq!(of("mutation { a(tenant: \"acme\") }", json!({})), Uuid::nil());
    }
}
