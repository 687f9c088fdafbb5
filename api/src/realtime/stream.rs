//! Answers a subscription as a stream of server-sent events, each operation on a connection of its own, after the
//! protocol of graphql-sse.

use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Response, header, request};
use futures::StreamExt;
use futures::stream::{BoxStream, unfold};
use tokio::sync::{Mutex, OwnedSemaphorePermit, watch};
use tokio::time::{Interval, interval, timeout};

use super::line::{Lasting, Line, Parting};
use super::watch::watch as watch_credentials;
use crate::auth::Caller;
use crate::error::Fault;
use crate::graphql::{Prepared, STREAM, body_of};
use crate::state::App;

/// How often a line without meaning is sent at least, by which either end notices that the other is gone.
const BREATH: Duration = Duration::from_secs(15);

/// How long the last words of a stream that we end may take to be read, before its connection is cut, or over HTTP/2
/// the stream alone is given up.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Answers a subscription whose client takes a stream.
///
/// # Errors
/// The fault of a request that is refused before any of it is executed.
pub(crate) fn answer(
    app: &App,
    head: &request::Parts,
    prepared: Prepared,
    caller: Caller,
) -> Result<Response<Body>, Fault> {
    prepared.admit_subscription(app, &caller)?;
    let room = app.live.stream_room()?;
    let line = app.live.open(caller.clone(), &app.config.limits)?;
    let lasting = head.extensions.get::<Lasting>().cloned();
    let (ended, cut) = (line.end_of(), lasting.as_ref().and_then(|lasting| lasting.cut.clone()));
    tokio::spawn(watch_credentials(app.clone(), Arc::downgrade(&line), head.headers.clone()));
    let answers =
        app.schema.execute_stream(prepared.into_request(app, caller).data(Arc::clone(&line))).boxed();
    let every = BREATH.min(app.config.limits.live_breath);
    let (taken, seen) = watch::channel(());
    tokio::spawn(part_if_untaken(Arc::downgrade(&line), seen, every + app.config.limits.live_take_in));
    let telling =
        Telling { answers, line, breath: interval(every), over: false, _lasting: lasting, _room: room };
    let telling = Arc::new(Mutex::new(Some(telling)));
    // Whoever does not read is cut off: what stands in the way of the last words is what nobody reads.
    let unread = Arc::downgrade(&telling);
    tokio::spawn(async move {
        ended.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
        // It is there as long as its body is.
        match (unread.upgrade(), cut) {
            (Some(_), Some(cut)) => cut.cancel(),
            // What it holds is given back; the shell ends when it is read, or with the connection.
            (Some(unread), None) => *unread.lock().await = None,
            (None, _) => {}
        }
    });
    let body = Body::from_stream(unfold((telling, taken), async |(telling, taken)| {
        taken.send_replace(());
        let mut held = telling.lock().await;
        let next = held.as_mut()?.next().await;
        drop(held);
        next.map(|bytes| (Ok::<_, Infallible>(bytes), (telling, taken)))
    }));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, STREAM);
    // A proxy that gathers an answer before it hands it on would hold back what happens.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Ends a stream of which nothing is taken in for so long, though there is a line without meaning at least: over HTTP/2 a
/// client can give it no room, and keep the connection alive.
async fn part_if_untaken(line: Weak<Line>, mut taken: watch::Receiver<()>, limit: Duration) {
    let Some(ended) = line.upgrade().map(|line| line.end_of()) else { return };
    loop {
        let seen = tokio::select! {
            () = ended.cancelled() => return,
            seen = timeout(limit, taken.changed()) => seen,
        };
        match seen {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => break,
        }
    }
    if let Some(line) = line.upgrade() {
        line.end(Parting::Slow);
    }
}

/// The word that a stream is complete.
pub(crate) const STREAM_COMPLETE: &str = "event: complete\ndata: \n\n";

/// One answer of a stream. JSON has no line breaks outside its texts, and none within.
pub(crate) fn stream_next(body: &str) -> String {
    format!("event: next\ndata: {body}\n\n")
}

/// A stream under way.
struct Telling {
    answers: BoxStream<'static, async_graphql::Response>,
    line: Arc<Line>,
    breath: Interval,
    over: bool,
    _lasting: Option<Lasting>,
    _room: OwnedSemaphorePermit,
}

impl Telling {
    /// The next that is sent; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        tokio::select! {
            biased;
            why = self.line.ended() => {
                self.over = true;
                // Without `complete`: the client connects again.
                Some(parting(why))
            }
            answer = self.answers.next() => Some(match answer {
                Some(response) => {
                    let (body, _) = body_of(response);
                    Bytes::from(stream_next(&body.to_string()))
                }
                None => {
                    self.over = true;
                    Bytes::from_static(STREAM_COMPLETE.as_bytes())
                }
            }),
            _ = self.breath.tick() => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

/// Why a stream ends, for people who read it.
fn parting(why: Parting) -> Bytes {
    Bytes::from(format!(": {}\n\n", why.reason()))
}
