//! Reads the log of events for the whole process, and hands on what is new.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jobs::Result;
use jobs::db::CALL_TIMEOUT;
use jobs::db::patience::{about, bounded};
use jobs::event::{Event, Kept, MAX_EVENTS, Page, store};
use rules::event::{Cursor, Snapshot, TopicKind};
use rules::id::{TenantId, UserId};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::hub::News;
use super::line::{Change, Parting};
use crate::state::App;

/// How often the log is read though nobody said that there is something new.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// The least time between two looks: what is said meanwhile is read by one.
const REST: Duration = Duration::from_millis(5);

/// After how long without a look it is asked whether all that came meanwhile is still there; after one that failed it
/// is, too, for the database may have been replaced.
const DOUBT_AFTER: Duration = Duration::from_secs(60);

/// How long to wait after a look that failed.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Events that are handed out before those who hear them may take them in.
const AT_ONCE: usize = 64;

/// Reads until the end, through every loss of the database: the place in the log is kept here, and the events there.
pub(crate) async fn run(app: App, ended: CancellationToken) {
    let heard = app.clone();
    let listening =
        tokio::spawn(jobs::event::listen(app.db.clone(), ended.clone(), move || heard.live.hub.stir()));
    // Whether the look before this one succeeded, and when.
    let mut looked: Option<Instant> = None;
    while !ended.is_cancelled() {
        let in_doubt = looked.is_none_or(|at| at.elapsed() > DOUBT_AFTER);
        let rest = match look(&app, in_doubt, &ended).await {
            Ok(()) => {
                looked = Some(Instant::now());
                REST
            }
            Err(error) => {
                tracing::debug!(%error, "the log of events could not be read; trying again");
                looked = None;
                AGAIN_AFTER
            }
        };
        tokio::time::sleep(rest).await;
        tokio::select! {
            () = ended.cancelled() => {}
            () = app.live.hub.stirred() => {}
            () = tokio::time::sleep(about(POLL_EVERY)) => {}
        }
    }
    if let Err(error) = listening.await {
        tracing::error!(%error, "listening for events panicked");
    }
}

/// Hands on all that came since the last look. Once some of it was, the rest follows before anybody may begin to
/// listen, however often that must be tried: they are told from where on they hear by a single snapshot.
async fn look(app: &App, in_doubt: bool, ended: &CancellationToken) -> Result<()> {
    let mut place = app.live.hub.place().await;
    if in_doubt && !stands(app, place.as_ref()).await? {
        tracing::warn!(
            "events were removed before they were read, or the database is another; all are sent back"
        );
        *place = None;
        app.live.part_all(Parting::Restarting);
    }
    let Some(after) = place.clone() else {
        *place =
            Some(bounded(CALL_TIMEOUT, async { store::lasting(&mut *app.db.acquire().await?).await }).await?);
        app.live.hub.moved();
        return Ok(());
    };
    let (mut seq, mut upto) = (0, None);
    loop {
        let page = match read(app, &after, seq, upto.as_ref()).await {
            Ok(page) => page,
            Err(error) if upto.is_none() || ended.is_cancelled() => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "the log of events could not be read on; trying again");
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
        };
        let full = page.events.len() >= usize::try_from(MAX_EVENTS).unwrap_or(usize::MAX);
        for (no, event) in page.events.into_iter().enumerate() {
            if no % AT_ONCE == AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            seq = event.seq;
            let cursor = Cursor { base: after.clone(), upto: page.upto.clone(), seq };
            let change = change_of(&event);
            app.live.hub.hand_out(&Arc::new(News { event, cursor }));
            change.into_iter().for_each(|change| app.live.changed(change));
        }
        if !full {
            *place = Some(page.upto);
            app.live.hub.moved();
            return Ok(());
        }
        upto = Some(page.upto);
    }
}

/// Whether all that came after a place can still be read.
async fn stands(app: &App, place: Option<&Snapshot>) -> Result<bool> {
    let Some(place) = place else { return Ok(true) };
    let cursor = Cursor::whole(place.clone());
    let kept =
        bounded(CALL_TIMEOUT, async { store::kept(&mut *app.db.acquire().await?, &cursor).await }).await?;
    Ok(kept == Kept::All)
}

async fn read(app: &App, after: &Snapshot, seq: i64, upto: Option<&Snapshot>) -> Result<Page> {
    bounded(CALL_TIMEOUT, async {
        let mut conn = app.db.acquire().await?;
        store::feed(&mut conn, after, seq, upto).await
    })
    .await
}

/// Whose rights an event says have changed.
fn change_of(event: &Event) -> Option<Change> {
    let id = event.topic.id;
    match event.topic.kind {
        TopicKind::Key => Some(Change::Key(id)),
        TopicKind::Tenant => Some(Change::Tenant(TenantId(id))),
        TopicKind::User => {
            // What does not read concerns the whole account.
            let data = event.value().unwrap_or_default();
            if data.get("access").and_then(Value::as_str) == Some("GAINED") {
                return None;
            }
            let session = data.get("sessionId").and_then(Value::as_str);
            Some(Change::User(UserId(id), session.and_then(|s| s.parse().ok())))
        }
        TopicKind::Run | TopicKind::Machine | TopicKind::Listener | TopicKind::Department => None,
    }
}
