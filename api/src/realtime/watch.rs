//! Looks from time to time whether the credentials of a live connection are still good.

use std::sync::Weak;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use jobs::db::patience::about;

use super::line::{Line, Parting};
use crate::auth::{still, token_end};
use crate::error::Fault;
use crate::state::App;

/// How often credentials are looked at though nobody said that they changed: keys have an end, too.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Ends a connection when its credentials do. `shown` are the headers which they stand in. The first look is at once:
/// what was taken back between their verification and the beginning of the connection was told to nobody.
pub(super) async fn watch(app: App, line: Weak<Line>, shown: HeaderMap) {
    let end = token_end(&shown);
    let mut look = Duration::ZERO;
    loop {
        let left = end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        let (wait, over) = left.filter(|left| *left <= look).map_or((look, false), |left| (left, true));
        let Some(ended) = line.upgrade().map(|line| line.end_of()) else { return };
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let Some(there) = line.upgrade() else { return };
        if over {
            return there.end(Parting::Expired);
        }
        look = about(LOOK_EVERY);
        match still(&app, &shown).await {
            Ok(now) if now == there.caller.principal => {}
            Ok(_) => return there.end(Parting::AccessChanged),
            Err(Fault::BadCredentials(_)) => return there.end(Parting::Expired),
            // The database is away: whoever was let in stays until it can be asked.
            Err(error) => tracing::debug!(%error, "credentials could not be looked at"),
        }
    }
}
