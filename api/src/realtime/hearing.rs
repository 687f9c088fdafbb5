//! What one subscription hears: first what it missed, then what happens.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use jobs::db::{CALL_TIMEOUT, patience, wall};
use jobs::event::{Event, Kept, MAX_EVENTS, store};
use jobs::{Code, Error};
use rules::access::Permissions;
use rules::event::{Cursor, Snapshot, Topic, told_to};
use rules::id::TenantId;
use serde_json::{Value, json};

use super::hub::{Ear, News};
use super::line::{Line, Parting};
use super::seats::{Of, Seat, holder};
use crate::error::Fault;
use crate::state::App;

/// The name of what is told first to whoever begins without a cursor: the place from which on they hear.
const JOINED: &str = "joined";

/// An event as it is told.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    /// Whoever has heard up to here.
    pub(crate) cursor: String,
    /// What it is about.
    pub(crate) topic: Topic,
    /// What happened.
    pub(crate) name: String,
    /// When, by the database's clock; none for the first word.
    pub(crate) at: Option<DateTime<Utc>>,
    /// What there is to tell of it.
    pub(crate) data: Value,
}

/// What a subscription is to hear.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hears {
    /// Whose events; nil for that of a user's account.
    pub(crate) tenant: TenantId,
    /// What they are about.
    pub(crate) topic: Topic,
    /// What its holder may do in the tenant.
    pub(crate) may: Permissions,
}

impl Hears {
    /// Whether an event is among it.
    fn is_told(&self, event: &Event) -> bool {
        told_to(event.topic.kind, &event.name).is_none_or(|needed| self.may.has(needed))
    }
}

/// One subscription.
pub(crate) struct Hearing {
    app: App,
    line: Arc<Line>,
    hears: Hears,
    ear: Ear,
    /// From where on what was missed is still to be read, and up to where.
    missed: Option<(Cursor, Snapshot)>,
    ready: VecDeque<Told>,
    _seats: [Seat; 2],
}

impl Hearing {
    /// Begins to hear of a topic, from behind a cursor on or from now on. Whether that may be is decided by the caller.
    ///
    /// # Errors
    /// Exhausted when there are too many subscriptions; Conflict for a cursor behind which something was removed;
    /// Unavailable when nobody answers.
    pub(crate) async fn begin(
        app: &App,
        line: &Arc<Line>,
        hears: Hears,
        after: Option<Cursor>,
    ) -> Result<Self, Fault> {
        let (live, limits) = (&app.live, &app.config.limits);
        let Hears { tenant, topic, .. } = hears;
        let whose = holder(line.caller.principal.as_ref());
        let seats = [
            live.seats.take(Of::OnLine(line.no()), limits.subscriptions)?,
            live.seats.take(Of::Subscriptions(whose), limits.subscriptions_each)?,
        ];
        // First the ear, then the look back: what falls between the two is heard.
        let (ear, from) = live.hub.listen(&app.db, tenant, topic, line).await?;
        let mut ready = VecDeque::new();
        let missed = match after {
            Some(after) => {
                check(app, &after).await?;
                Some((after, from))
            }
            None => {
                let cursor = Cursor::whole(from).to_string();
                ready.push_back(Told { cursor, topic, name: JOINED.into(), at: None, data: json!({}) });
                None
            }
        };
        Ok(Self { app: app.clone(), line: Arc::clone(line), hears, ear, missed, ready, _seats: seats })
    }

    /// The next event; none when the connection is to end.
    pub(crate) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            if let Some((from, upto)) = self.missed.take() {
                if let Err(error) = self.look_back(from, upto).await {
                    tracing::debug!(%error, "what was missed cannot be told; the client is sent back");
                    self.line.end(Parting::Restarting);
                    return None;
                }
                continue;
            }
            match self.ear.next().await {
                Some(news) if self.hears.is_told(&news.event) => return Some(told(&news)),
                Some(_) => {}
                None => {
                    self.line.end(Parting::Slow);
                    return None;
                }
            }
        }
    }

    /// Reads some of what was missed.
    async fn look_back(&mut self, from: Cursor, upto: Snapshot) -> jobs::Result<()> {
        let events = patience::bounded(CALL_TIMEOUT, async {
            let mut conn = self.app.db.acquire().await?;
            let Hears { tenant, topic, .. } = self.hears;
            wall::enter(&mut conn, tenant).await?;
            let events = store::replay(&mut conn, tenant, topic, &from, &upto).await?;
            // Afterwards, for it may have been removed since it was looked at last.
            match store::kept(&mut conn, &from).await? {
                Kept::All => Ok(events),
                Kept::Gone | Kept::Unknown => Err(gone()),
            }
        })
        .await?;
        if events.len() >= usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX) {
            self.missed = events.last().map(|(_, cursor)| (cursor.clone(), upto));
        }
        let told = events.into_iter().filter(|(event, _)| self.hears.is_told(event));
        self.ready.extend(told.map(|(event, cursor)| read(event, cursor.to_string())));
        Ok(())
    }
}

fn told(news: &Arc<News>) -> Told {
    read(news.event.clone(), news.cursor.clone())
}

fn read(event: Event, cursor: String) -> Told {
    Told { cursor, topic: event.topic, name: event.name, at: Some(event.at), data: event.data }
}

/// Whether all that came after a cursor can still be told.
async fn check(app: &App, after: &Cursor) -> Result<(), Fault> {
    let kept =
        patience::bounded(CALL_TIMEOUT, async { store::kept(&mut *app.db.acquire().await?, after).await })
            .await?;
    match kept {
        Kept::All => Ok(()),
        Kept::Gone => Err(gone().into()),
        Kept::Unknown => {
            let told = "`after` is of a time that the database does not know; read anew how things stand, and \
                        subscribe without it";
            Err(Error::new(Code::Conflict, told).into())
        }
    }
}

fn gone() -> Error {
    let told = "some of what came after `after` was removed since; read anew how things stand, and subscribe without it";
    Error::new(Code::Conflict, told)
}
