//! Dead letters: what could not be done, another try, or the decision against it.

use async_graphql::connection::{Connection, ConnectionNameType, EmptyFields};
use async_graphql::{Context, ID, Object, OutputType, Result, SimpleObject};
use chrono::{DateTime, Utc};
use jobs::Listing;
use jobs::queue::postgres::letters::{self, Bound, Leaf, LetterGroup, LetterGroups};
use jobs::queue::postgres::{control, look};
use rules::access::InTenant;
use rules::id::JobId;
use rules::queue::State;
use rules::queue::letter::{Letters, shape};

use super::job::{Job, dead, redrive};
use super::limit::DEFAULT_PAGE;
use super::page::{MAX_PAGE, Page};
use super::scope::{app, enter_or_all, parse_job};
use crate::audit;
use crate::auth::SignedIn;
use crate::error::{Fault, Told};

/// Dead letters that one call redrives or discards.
const MAX_REDRIVE: usize = 100;

/// What came of redriving one dead letter.
#[derive(SimpleObject)]
pub(crate) struct Redriven {
    /// Its id, as it was given.
    id: ID,
    /// Whether it has new attempts now.
    redriven: bool,
    /// Why not, as in the `extensions.code` of an error: BAD_USER_INPUT, NOT_FOUND, CONFLICT, UNAVAILABLE or
    /// INTERNAL.
    code: Option<&'static str>,
    /// The same in words.
    message: Option<String>,
    /// The id of that error, as in the `extensions.errorId` of an error.
    error_id: Option<String>,
}

impl Redriven {
    fn of(id: ID, refused: Option<Told>) -> Self {
        let code = refused.as_ref().map(|told| told.code);
        let (message, error_id) = refused.map(|told| (told.message, told.id)).unzip();
        Self { id, redriven: code.is_none(), code, message, error_id }
    }
}

/// Dead letters of one kind whose errors differ in nothing but what is quoted, addresses, and words with digits in them.
#[derive(SimpleObject)]
pub(crate) struct DeadLetterGroup {
    /// By what `deadLetters` takes them.
    fingerprint: String,
    /// What its letters are, such as `run.node`.
    kind: String,
    /// What their errors have in common.
    shape: String,
    /// How many there are.
    count: i64,
    /// When the first of them died.
    first_at: DateTime<Utc>,
    /// When the last of them died.
    last_at: DateTime<Utc>,
    /// The newest job of them.
    sample: ID,
    /// Why that one died.
    sample_error: String,
}

/// Groups of dead letters, the largest first.
#[derive(SimpleObject)]
pub(crate) struct DeadLetterGroups {
    /// The groups.
    groups: Vec<DeadLetterGroup>,
    /// How many dead letters were looked at.
    looked: i64,
    /// Whether these were all there are; otherwise they are the newest 100,000.
    complete: bool,
}

impl From<LetterGroup> for DeadLetterGroup {
    fn from(group: LetterGroup) -> Self {
        Self {
            shape: shape(&group.sample_error),
            fingerprint: group.fingerprint,
            kind: group.kind,
            count: group.count,
            first_at: group.first_at,
            last_at: group.last_at,
            sample: group.sample_id.into(),
            sample_error: group.sample_error,
        }
    }
}

impl From<LetterGroups> for DeadLetterGroups {
    fn from(told: LetterGroups) -> Self {
        let groups = told.groups.into_iter().map(Into::into).collect();
        Self { groups, looked: told.looked, complete: told.complete }
    }
}

/// How far a page of dead letters was looked for.
#[derive(SimpleObject)]
pub(crate) struct LookedFor {
    /// Whether it was looked for all that were asked for; otherwise the page has fewer than it might, maybe none, and there
    /// may be more.
    complete: bool,
    /// Where to go on if not, as `after`.
    reached: Option<String>,
}

/// The name of the connection, whose fields are its own.
pub(crate) struct LetterConnectionName;

impl ConnectionNameType for LetterConnectionName {
    fn type_name<T: OutputType>() -> String {
        "DeadLetterConnection".to_owned()
    }
}

type LetterConnection = Connection<String, Job, LookedFor, EmptyFields, LetterConnectionName>;

/// The page of these letters, which goes on where it was looked no further.
fn connection(page: &Page<i64>, leaf: Leaf) -> Result<LetterConnection, Fault> {
    let plain = page.try_of(leaf.letters, |j| j.id, Job::try_from)?;
    let looked = LookedFor {
        complete: leaf.reached.is_none(),
        reached: leaf.reached.map(|reached| page.cursor(&reached)),
    };
    // Of a page without any there is no cursor to go on from: who only follows those would begin anew, for ever.
    let more = plain.has_next_page || leaf.reached.is_some() && !plain.edges.is_empty();
    let mut told = Connection::with_additional_fields(plain.has_previous_page, more, looked);
    told.edges = plain.edges;
    Ok(told)
}

/// What can be read of dead letters.
#[derive(Default)]
pub(crate) struct DeadLetterQuery;

/// What can be done with dead letters.
#[derive(Default)]
pub(crate) struct DeadLetterMutation;

#[Object]
impl DeadLetterQuery {
    /// Dead letters, newest job first. Where few of very many fit, a page ends after two seconds, or a million letters that were
    /// looked at; `complete` tells so, and `reached` is where to go on.
    #[graphql(guard = "SignedIn")]
    #[expect(clippy::too_many_arguments, reason = "one for each that a caller may restrict it by")]
    async fn dead_letters(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        kind: Option<String>,
        queue: Option<String>,
        #[graphql(desc = "Those of this group.")] fingerprint: Option<String>,
        #[graphql(desc = "Those whose error has this text in it, in whatever case.")] search: Option<String>,
        #[graphql(desc = "Those that died at this time or later.")] since: Option<DateTime<Utc>>,
        #[graphql(desc = "Those that died before this time.")] until: Option<DateTime<Utc>>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Result<LetterConnection, Fault> {
        let page = Page::<i64>::read("deadLetters", first, after.as_deref())?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let letters = Letters { kind, queue, fingerprint, search, since, until };
        let leaf = letters::page(&mut conn, tenant, &letters, page.after, page.limit(), Bound::USUAL).await?;
        connection(&page, leaf)
    }

    /// Dead letters in groups of the same error, the largest group first: of the newest 100,000.
    #[graphql(guard = "SignedIn")]
    #[expect(clippy::too_many_arguments, reason = "one for each that a caller may restrict it by")]
    async fn dead_letter_groups(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        kind: Option<String>,
        queue: Option<String>,
        #[graphql(desc = "Of those that died at this time or later.")] since: Option<DateTime<Utc>>,
        #[graphql(desc = "Of those that died before this time.")] until: Option<DateTime<Utc>>,
        first: Option<i32>,
    ) -> Result<DeadLetterGroups, Fault> {
        let first = first.unwrap_or_else(|| i32::try_from(DEFAULT_PAGE).unwrap_or(MAX_PAGE));
        if !(1..=MAX_PAGE).contains(&first) {
            return Err(Fault::BadInput(format!("`first` is {first}; it must lie between 1 and {MAX_PAGE}")));
        }
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let letters = Letters { kind, queue, since, until, ..Letters::default() };
        Ok(letters::groups(&mut conn, tenant, &letters, first).await?.into())
    }

    /// One dead letter, with every attempt.
    #[graphql(guard = "SignedIn")]
    async fn dead_letter(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Needed, save for an API key or an administrator of the installation.")]
        tenant: Option<ID>,
        id: ID,
    ) -> Result<Job, Fault> {
        let id = parse_job(&id)?;
        let mut conn = app(ctx).db.acquire().await?;
        let tenant = enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Look).await?;
        let job = look::job(&mut conn, id, tenant).await?;
        if job.state != State::Dead.as_str() {
            let told = jobs::Error::not_found(format!("job {id} is not among the dead letters"));
            return Err(told.listed_in(Listing::DeadLetters).into());
        }
        job.try_into()
    }
}

#[Object]
impl DeadLetterMutation {
    /// Gives dead letters new attempts: all of the given ones, or none when one cannot be. `redriveEachDeadLetter`
    /// redrives those that it can.
    #[graphql(guard = "SignedIn")]
    async fn redrive_dead_letters(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        ids: Vec<ID>,
    ) -> Result<Vec<ID>, Fault> {
        bounded(&ids)?;
        let mut tx = audit::begin(ctx).await?;
        let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        let mut pools = Vec::new();
        for id in in_order(&ids)? {
            pools.extend(redrive(&mut tx, id, tenant).await?);
        }
        tx.commit().await?;
        wake(ctx, pools);
        Ok(ids)
    }

    /// Decides that dead letters are not to be done: all of the given ones, or none when one is no dead letter. Each becomes
    /// a cancelled job of the history, with its attempts; what it was for stays as its death left it.
    #[graphql(guard = "SignedIn")]
    async fn discard_dead_letters(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        ids: Vec<ID>,
    ) -> Result<Vec<ID>, Fault> {
        bounded(&ids)?;
        let mut tx = audit::begin(ctx).await?;
        let tenant = enter_or_all(ctx, &mut tx, tenant.as_ref(), InTenant::Work).await?;
        for id in in_order(&ids)? {
            dead(&mut tx, id, tenant).await?;
            control::discard(&mut tx, id).await?;
        }
        tx.commit().await?;
        Ok(ids)
    }

    /// Gives dead letters new attempts, each for itself: one that cannot be redriven holds up none of the others,
    /// and of each is told what came of it, in the order of the ids.
    #[graphql(guard = "SignedIn")]
    async fn redrive_each_dead_letter(
        &self,
        ctx: &Context<'_>,
        tenant: Option<ID>,
        ids: Vec<ID>,
    ) -> Result<Vec<Redriven>, Fault> {
        bounded(&ids)?;
        let mut conn = app(ctx).db.acquire().await?;
        // Whoever may not do this at all is told so once, and not of each.
        enter_or_all(ctx, &mut conn, tenant.as_ref(), InTenant::Work).await?;
        drop(conn);
        let (mut all, mut pools) = (Vec::new(), Vec::new());
        for id in ids {
            let fault = match redrive_alone(ctx, tenant.as_ref(), &id).await {
                Ok(woken) => {
                    pools.extend(woken);
                    None
                }
                Err(fault) => {
                    let told = fault.told();
                    audit::refuse_some(ctx, "ids", std::slice::from_ref(&id.0), told.code);
                    Some(told)
                }
            };
            all.push(Redriven::of(id, fault));
        }
        wake(ctx, pools);
        Ok(all)
    }
}

fn bounded(ids: &[ID]) -> Result<(), Fault> {
    if (1..=MAX_REDRIVE).contains(&ids.len()) {
        return Ok(());
    }
    let told = format!("`ids` has {} entries; it must have between 1 and {MAX_REDRIVE}", ids.len());
    Err(Fault::BadInput(told))
}

/// These jobs, by their ids: everybody locks more than one in that order.
fn in_order(ids: &[ID]) -> Result<Vec<JobId>, Fault> {
    let mut jobs = ids.iter().map(parse_job).collect::<Result<Vec<_>, _>>()?;
    jobs.sort_unstable();
    Ok(jobs)
}

/// Redrives one in a transaction of its own. Returns the pools to wake.
async fn redrive_alone(ctx: &Context<'_>, tenant: Option<&ID>, id: &ID) -> Result<Vec<i32>, Fault> {
    let mut tx = audit::begin(ctx).await?;
    tx.some_of("ids", vec![id.to_string()]);
    let id = parse_job(id)?;
    let tenant = enter_or_all(ctx, &mut tx, tenant, InTenant::Work).await?;
    let pools = redrive(&mut tx, id, tenant).await?;
    tx.commit().await?;
    Ok(pools)
}

fn wake(ctx: &Context<'_>, mut pools: Vec<i32>) {
    pools.sort_unstable();
    pools.dedup();
    app(ctx).wake().pools(&pools);
}

#[cfg(test)]
mod tests {
    use jobs::db::Slice;

    use super::*;

    #[test]
    fn a_page_that_was_cut_short_tells_where_to_go_on() {
        let page = Page::<i64>::read("deadLetters", Some(2), None).unwrap();
        let empty = |reached| {
            connection(&page, Leaf { letters: Slice { rows: Vec::new(), cut: false }, reached }).unwrap()
        };
        let cut = empty(Some(7));
        assert_eq!((cut.additional_fields.complete, cut.has_next_page), (false, false));
        let on = Page::<i64>::read("deadLetters", None, cut.additional_fields.reached.as_deref());
        assert_eq!(on.unwrap().after, Some(7));
        assert_eq!((empty(None).additional_fields.complete, empty(None).has_next_page), (true, false));
    }
}
