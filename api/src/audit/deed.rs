//! The transaction of a mutation, in which what it does and its audit entry stand or fall together.

use std::ops::{Deref, DerefMut};

use async_graphql::Context;
use jobs::audit::{Note, note};
use jobs::db::PgConnection;
use rules::id::UserId;
use sqlx::{Postgres, Transaction};

use super::Ledger;
use crate::auth::Caller;
use crate::error::Fault;
use crate::graphql::Mark;
use crate::state::App;

/// What a mutation does: its transaction, with who does it. Given up, it has done nothing.
pub(crate) struct Deed<'a> {
    tx: Transaction<'static, Postgres>,
    app: &'a App,
    ledger: &'a Ledger,
    ctx: &'a Context<'a>,
    actor: String,
    part: Option<(&'static str, Vec<String>)>,
}

/// Begins the transaction of the mutation that is being resolved.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn begin<'a>(ctx: &'a Context<'a>) -> Result<Deed<'a>, Fault> {
    let app = ctx.data_unchecked::<App>();
    let tx = jobs::db::begin(&app.db).await?;
    let actor = ctx.data_unchecked::<Caller>().actor();
    Ok(Deed { tx, app, ledger: ctx.data_unchecked::<Ledger>(), ctx, actor, part: None })
}

/// Tells that some of those that an argument lists were refused, with their code, though the mutation itself is not.
pub(crate) fn refuse_some(ctx: &Context<'_>, argument: &str, some: &[String], code: &'static str) {
    let ledger = ctx.data_unchecked::<Ledger>();
    let field = &ctx.item.node;
    let entry = ledger.entry(ctx.data_unchecked::<Caller>(), field, Some((argument, some)), Some(code));
    ctx.data_unchecked::<App>().audit.push(entry);
    ledger.stands(field.response_key().node.as_str());
}

impl Deed<'_> {
    /// Says who does it, where that is only known now: at a login.
    pub(crate) fn by(&mut self, user: UserId) {
        self.actor = format!("user:{user}");
    }

    /// Says that it is done to some of those that an argument lists, and to none of the others.
    pub(crate) fn some_of(&mut self, argument: &'static str, some: Vec<String>) {
        self.part = Some((argument, some));
    }

    /// Commits what was done, with its entry in the audit of the tenant that was entered, and under the idempotency key
    /// of its request.
    ///
    /// # Errors
    /// Conflict where another request has taken that key over;
    /// Unavailable when nobody answers; if the answer to the commit is lost, both may stand all the same.
    pub(crate) async fn commit(mut self) -> Result<(), Fault> {
        let field = &self.ctx.item.node;
        let key = field.response_key().node.as_str();
        let origin = &self.ctx.data_unchecked::<Caller>().origin;
        let address = origin.address.to_string();
        let told = Note {
            actor: &self.actor,
            operation: field.name.node.as_str(),
            arguments: &self
                .ledger
                .arguments(field, self.part.as_ref().map(|(of, some)| (*of, some.as_slice()))),
            took_ms: self.ledger.took_ms(key),
            address: Some(&address),
            request_id: origin.request_id.as_deref(),
        };
        note(&mut self.tx, &told).await?;
        let mark = self.ctx.data_opt::<Mark>();
        if let Some(mark) = mark {
            mark.note(&mut self.tx).await?;
        }
        self.tx.commit().await?;
        if let Some(mark) = mark {
            mark.committed();
        }
        self.ledger.stands(key);
        self.app.audit.noted();
        self.app.wake().stir();
        Ok(())
    }

    /// Commits what had to be done though the mutation is refused.
    ///
    /// # Errors
    /// As [`Deed::commit`].
    pub(crate) async fn commit_refused(self) -> Result<(), Fault> {
        Ok(self.tx.commit().await?)
    }
}

impl Deref for Deed<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.tx
    }
}

impl DerefMut for Deed<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.tx
    }
}
