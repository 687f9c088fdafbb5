//! Tells a supervisor whether the process lives and may be given requests.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode, header};
use axum::response::IntoResponse;
use jobs::db::{PgPool, SchemaState, schema_state};
use tokio::sync::Mutex;

use crate::error::finding;
use crate::state::App;

/// How long the database may take to answer a probe.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one finding serves all probes: anybody may probe, so probes must not add up to load.
const FINDING_TTL: Duration = Duration::from_secs(1);

/// What the last look at the database found.
#[derive(Default)]
pub(crate) struct Readiness {
    last: Mutex<Option<(Instant, Finding)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Ready,
    NoDatabase,
    Behind,
    Ahead,
}

/// The process runs; nothing else is looked at, since restarting it would mend nothing else.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests may be sent here.
pub(crate) async fn readyz(State(app): State<App>) -> Response<Body> {
    if app.is_draining() {
        return finding(StatusCode::SERVICE_UNAVAILABLE, "the process is shutting down");
    }
    let told = match app.readiness.look(&app.db).await {
        Finding::Ready => return "ok\n".into_response(),
        Finding::NoDatabase => "the database cannot be reached",
        Finding::Behind => "the schema is older than this executable; run `millrace migrate`",
        Finding::Ahead => "the schema is newer than this executable; run the newer one",
    };
    finding(StatusCode::SERVICE_UNAVAILABLE, told)
}

impl Readiness {
    async fn look(&self, db: &PgPool) -> Finding {
        // Held across the look: those who come meanwhile wait for its finding in place of adding theirs.
        let mut last = self.last.lock().await;
        if let Some((at, finding)) = *last
            && at.elapsed() < FINDING_TTL
        {
            return finding;
        }
        let finding = match tokio::time::timeout(PING_TIMEOUT, schema_state(db)).await {
            Ok(Ok(state)) if state.suits() => Finding::Ready,
            Ok(Ok(SchemaState::Behind(_))) => Finding::Behind,
            Ok(Ok(_)) => Finding::Ahead,
            Ok(Err(_)) | Err(_) => Finding::NoDatabase,
        };
        *last = Some((Instant::now(), finding));
        finding
    }
}

/// The figures of this process, in the text form of Prometheus.
pub(crate) async fn metrics(State(app): State<App>) -> Response<Body> {
    shown(std::iter::once(&app.db).chain(app.beside()))
}

/// As [`metrics`], where there is nothing but a database.
pub(crate) async fn figures(State(db): State<PgPool>) -> Response<Body> {
    shown(std::iter::once(&db))
}

fn shown<'a>(pools: impl Iterator<Item = &'a PgPool>) -> Response<Body> {
    jobs::metrics::db_pools(pools);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], jobs::metrics::render()).into_response()
}
