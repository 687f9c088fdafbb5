//! What one request has told the audit so far, field by field.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use async_graphql::parser::types::Field;
use async_graphql::{ServerError, Variables};
use chrono::Utc;
use rules::access::{Denied, Principal};
use rules::audit::{Entry, INSTALLATION, NOBODY, Outcome, arguments};
use rules::id::TenantId;
use serde_json::{Map, Value as Json};

use crate::auth::{Caller, Origin};
use crate::error::{Fault, code_of};
use crate::state::App;

/// Arguments that are secrets by what they are for, and not by their names.
const SECRET_ARGUMENTS: [(&str, &[&str]); 1] = [("changePassword", &["old", "new"])];

/// Queries that are told when they are answered, too: who reads the audit is of interest to auditors.
const QUERIES_TOLD: [&str; 1] = ["auditLogs"];

/// What a request tells the audit, by the names under which its fields at the root are answered.
pub(crate) struct Ledger {
    variables: Variables,
    fields: Mutex<HashMap<String, Told>>,
}

/// What is known of one field.
#[derive(Debug, Clone, Copy)]
struct Told {
    began: Instant,
    tenant: Option<TenantId>,
    /// Whether it has its entry already.
    stands: bool,
}

impl Ledger {
    /// Nothing is told yet. The variables are those of the request, with the defaults of its operation.
    pub(crate) fn new(variables: Variables) -> Self {
        Self { variables, fields: Mutex::default() }
    }

    /// The arguments of a field as an entry keeps them; of the one that lists several, those that it is about.
    pub(crate) fn arguments(&self, field: &Field, part: Option<(&str, &[String])>) -> String {
        let operation = field.name.node.as_str();
        let secret =
            SECRET_ARGUMENTS.iter().find(|(of, _)| *of == operation).map_or(&[][..], |(_, names)| names);
        let mut given = Map::new();
        for (name, value) in &field.arguments {
            let name = name.node.as_str();
            if secret.contains(&name) {
                given.insert(name.to_owned(), Json::String(rules::redact::FILTERED.into()));
                continue;
            }
            // With its variables in their places, as the executor reads them: one that was not given is null.
            let of_variable =
                |name| Ok::<_, Infallible>(self.variables.get(&name).cloned().unwrap_or_default());
            let value = match value.node.clone().into_const_with(of_variable) {
                Ok(value) => value,
                Err(never) => match never {},
            };
            if let Ok(value) = value.into_json() {
                given.insert(name.to_owned(), value);
            }
        }
        if let Some((of, some)) = part {
            given.insert(of.to_owned(), some.into());
        }
        arguments(&given)
    }

    /// How long ago a field began, in milliseconds.
    pub(crate) fn took_ms(&self, key: &str) -> i32 {
        let began = self.told(key).map_or_else(Instant::now, |told| told.began);
        i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX)
    }

    /// Notes in which tenant a field acts, once it is known that whoever asks belongs there.
    pub(crate) fn in_tenant(&self, key: &str, tenant: TenantId) {
        self.change(key, |told| told.tenant = Some(tenant));
    }

    /// Notes that a field has its entry: with what it did, or with what was refused of it.
    pub(crate) fn stands(&self, key: &str) {
        self.change(key, |told| told.stands = true);
    }

    /// The entry of a field that is in no transaction; of the one that lists several, those that it is about.
    pub(super) fn entry(
        &self,
        caller: &Caller,
        field: &Field,
        part: Option<(&str, &[String])>,
        code: Option<&'static str>,
    ) -> Entry {
        let key = field.response_key().node.as_str();
        Entry {
            tenant: self.told(key).and_then(|told| told.tenant).or(own(caller)).unwrap_or(INSTALLATION),
            at: Utc::now(),
            actor: caller.actor(),
            operation: field.name.node.to_string(),
            arguments: self.arguments(field, part),
            outcome: outcome_of(code),
            code: code.map(str::to_owned),
            took_ms: self.took_ms(key),
            address: Some(caller.origin.address.to_string()),
            request_id: caller.origin.request_id.clone(),
        }
    }

    fn told(&self, key: &str) -> Option<Told> {
        self.fields.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn change(&self, key: &str, change: impl FnOnce(&mut Told)) {
        let mut fields = self.fields.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = fields.get_mut(key) {
            change(told);
        }
    }

    fn begin(&self, key: &str) {
        let told = Told { began: Instant::now(), tenant: None, stands: false };
        self.fields.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), told);
    }
}

/// A field at the root that is being resolved. Dropped before its end, as when the client went away or the time was
/// up, it tells that it came to no answer.
pub(crate) struct Telling<'a> {
    app: &'a App,
    ledger: &'a Ledger,
    caller: &'a Caller,
    field: &'a Field,
    mutates: bool,
    open: bool,
}

impl<'a> Telling<'a> {
    /// Begins to listen to a field.
    pub(crate) fn of(
        app: &'a App,
        ledger: &'a Ledger,
        caller: &'a Caller,
        field: &'a Field,
        mutates: bool,
    ) -> Self {
        ledger.begin(field.response_key().node.as_str());
        Self { app, ledger, caller, field, mutates, open: true }
    }

    /// Tells what became of it, where that is to be told and does not stand already.
    pub(crate) fn end(mut self, refused: Option<&ServerError>) {
        self.open = false;
        let fault = refused.and_then(|error| error.source::<Fault>());
        let told = match refused {
            _ if self.mutates => true,
            None => QUERIES_TOLD.contains(&self.field.name.node.as_str()),
            // Of what is only looked at, what is not allowed is told; that nobody is logged in is not.
            Some(_) => fault.is_some_and(is_told),
        };
        if told {
            self.tell(refused.map(code_of));
        }
    }

    fn tell(&self, code: Option<&'static str>) {
        let key = self.field.response_key().node.as_str();
        if !self.ledger.told(key).is_some_and(|told| told.stands) {
            self.app.audit.push(self.ledger.entry(self.caller, self.field, None, code));
        }
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if self.open && self.mutates {
            self.tell(Some("UNAVAILABLE"));
        }
    }
}

fn outcome_of(code: Option<&str>) -> Outcome {
    match code {
        None => Outcome::Accepted,
        Some("INTERNAL" | "UNAVAILABLE") => Outcome::Failed,
        Some(_) => Outcome::Refused,
    }
}

/// The tenant that a caller has by what it is.
fn own(caller: &Caller) -> Option<TenantId> {
    match &caller.principal {
        Some(Principal::Key { tenant, .. }) => Some(*tenant),
        Some(Principal::User { .. }) | None => None,
    }
}

/// Tells of a subscription that is not allowed; that nobody is logged in is not told.
pub(crate) fn denied(app: &App, ledger: &Ledger, caller: &Caller, field: &Field, fault: &Fault) {
    if is_told(fault) {
        app.audit.push(ledger.entry(caller, field, None, Some(fault.code_name())));
    }
}

fn is_told(fault: &Fault) -> bool {
    matches!(fault, Fault::Denied(denied) if *denied != Denied::Anonymous)
}

/// Tells of a room that somebody may not join.
pub(crate) fn denied_room(
    app: &App,
    caller: &Caller,
    tenant: Option<TenantId>,
    given: &Map<String, Json>,
    fault: &Fault,
) {
    if is_told(fault) {
        let tenant = tenant.or(own(caller));
        let refusal = Refusal { tenant, operation: "join", given, code: fault.code_name() };
        app.audit.push(Entry { actor: caller.actor(), ..entry_of(&caller.origin, &refusal) });
    }
}

/// Tells that credentials were shown that are no good.
pub(crate) fn refused_credentials(app: &App, origin: &Origin) {
    let given = Map::new();
    refused(
        app,
        origin,
        &Refusal { tenant: None, operation: "authenticate", given: &given, code: "UNAUTHENTICATED" },
    );
}

/// Something that was refused outside of GraphQL.
pub(crate) struct Refusal<'a> {
    /// Whom it concerns, once it is known that whoever asks is let in there.
    pub(crate) tenant: Option<TenantId>,
    /// What was asked for.
    pub(crate) operation: &'a str,
    /// With what.
    pub(crate) given: &'a Map<String, Json>,
    /// Why it was refused.
    pub(crate) code: &'a str,
}

/// Tells of it.
pub(crate) fn refused(app: &App, origin: &Origin, refusal: &Refusal<'_>) {
    app.audit.push(entry_of(origin, refusal));
}

fn entry_of(origin: &Origin, refusal: &Refusal<'_>) -> Entry {
    Entry {
        tenant: refusal.tenant.unwrap_or(INSTALLATION),
        at: Utc::now(),
        actor: NOBODY.into(),
        operation: refusal.operation.into(),
        arguments: arguments(refusal.given),
        outcome: Outcome::Refused,
        code: Some(refusal.code.into()),
        took_ms: 0,
        address: Some(origin.address.to_string()),
        request_id: origin.request_id.clone(),
    }
}
