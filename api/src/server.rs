//! Accepts connections, bounds each of them, and drains them at the end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::Version;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use jobs::Result;
use jobs::db::PgPool;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::config::Limits;
use crate::realtime::{self, Lasting};
use crate::router::{figures, router};
use crate::state::App;

/// How long to wait after a failed accept: the process is out of file handles, and trying at once again
/// would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Streams of an HTTP/2 connection that a client may have reset before it is cut off.
const RESET_STREAMS: usize = 20;

/// The address that a connection came from, put into each of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

/// Connections to the figures of a process without an API: a Prometheus or two, and a person who looks.
const FIGURES_CONNECTIONS: usize = 16;

/// Serves until the shutdown, then lets requests under way end for as long as the configuration grants.
///
/// # Errors
/// None at present: a failed accept is retried, and a broken connection concerns itself alone.
pub async fn serve(listener: TcpListener, app: App, shutdown: CancellationToken) -> Result<()> {
    let limits = app.config.limits.clone();
    let drained = CancellationToken::new();
    let flushing = {
        let (app, drained) = (app.clone(), drained.clone());
        tokio::spawn(async move { app.audit.run(&app.db, app.wake(), drained).await })
    };
    let feeding = tokio::spawn(realtime::feed(app.clone(), drained.clone()));
    let drain = limits.drain;
    let served = run_until(listener, router(app.clone()), limits, shutdown, || app.start_draining()).await;
    // Those that left hyper's hands were told at the same moment as the others.
    if tokio::time::timeout(drain, app.live.stopped()).await.is_err() {
        tracing::warn!("live connections were cut: they outlasted the drain");
    }
    // What the last requests told is handed on before the process ends.
    drained.cancel();
    feeding.await.map_err(jobs::Error::internal)?;
    flushing.await.map_err(jobs::Error::internal)?;
    served
}

/// Serves `/livez` and `/metrics` alone, for a process that is no API. As [`serve`] otherwise.
///
/// # Errors
/// As [`serve`].
pub async fn serve_figures(listener: TcpListener, db: PgPool, shutdown: CancellationToken) -> Result<()> {
    let limits = Limits { connections: FIGURES_CONNECTIONS, ..Limits::default() };
    run_until(listener, figures(db), limits, shutdown, || ()).await
}

async fn run_until(
    listener: TcpListener,
    service: axum::Router,
    limits: Limits,
    shutdown: CancellationToken,
    at_the_end: impl FnOnce(),
) -> Result<()> {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let stop = CancellationToken::new();
    let builder = Arc::new(builder(&limits));

    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection =
            run(stream, peer, service.clone(), Arc::clone(&builder), limits.clone(), stop.child_token());
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }

    at_the_end();
    drop(listener);
    stop.cancel();
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were cut: they outlasted the drain");
    }
    Ok(())
}

/// Accepts only when there is room, so that what comes in excess waits in the kernel and costs nothing.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, slot))
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes.max(8 * 1024));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(RESET_STREAMS)
        .max_local_error_reset_streams(RESET_STREAMS)
        .keep_alive_interval(limits.head_timeout)
        .keep_alive_timeout(limits.head_timeout);
    builder
}

/// Requests of one connection that are under way, and the news of each that begins or ends.
#[derive(Default)]
struct Activity {
    under_way: AtomicUsize,
    news: Notify,
}

/// Counts a request for as long as it lives, however it ends.
struct UnderWay(Arc<Activity>);

impl UnderWay {
    fn of(activity: &Arc<Activity>) -> Self {
        activity.under_way.fetch_add(1, Ordering::Relaxed);
        activity.news.notify_one();
        Self(Arc::clone(activity))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.news.notify_one();
    }
}

/// Serves one connection. It is told to end when it idles, and is cut when it then does not.
async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    router: axum::Router,
    builder: Arc<Builder<TokioExecutor>>,
    limits: Limits,
    stop: CancellationToken,
) {
    let activity: Arc<Activity> = Arc::default();
    let counted = Arc::clone(&activity);
    let cut = CancellationToken::new();
    let cutting = cut.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        let under_way = Arc::new(UnderWay::of(&counted));
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        // Over HTTP/2 other requests are on the same connection.
        let cut = (request.version() != Version::HTTP_2).then(|| cutting.clone());
        request.extensions_mut().insert(Lasting { _under_way: under_way.clone(), cut });
        async move {
            poll_fn(|cx| Service::<Request>::poll_ready(&mut router, cx)).await?;
            let response = router.call(request).await;
            drop(under_way);
            response
        }
    });
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = idle(&activity, limits.head_timeout) => None,
        () = stop.cancelled() => None,
        () = cut.cancelled() => return,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            // Takes no more requests; those under way are answered, and their answers must be read in time.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = idle(&activity, limits.head_timeout) => return,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        // Mostly clients that went away: their affair, and no line in an ordinary log.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Ends when no request was under way for this long. It covers what hyper's own limit does not: a
/// connection that never says which protocol it speaks, and an HTTP/2 client that only pings.
async fn idle(activity: &Activity, limit: Duration) {
    loop {
        if activity.under_way.load(Ordering::Relaxed) > 0 {
            activity.news.notified().await;
            continue;
        }
        tokio::select! {
            () = sleep(limit) => return,
            () = activity.news.notified() => {}
        }
    }
}
