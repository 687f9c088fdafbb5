//! A line to the database that is cut, falls silent, is slow or leads elsewhere, as a test wants it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::wire;

/// Bytes handed on at once.
const CHUNK: usize = 64 * 1024;

/// How a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It hands on what is said.
    Open,
    /// It hands on what clients say so much later.
    Slow(Duration),
    /// It hands nothing on and tells nobody; what was said arrives when it is open again.
    Frozen,
    /// The server knows that its clients are gone, and they do not: who was connected hears nothing any more,
    /// not even when the line is open again, and who connects meanwhile never hears anything.
    HalfOpen,
}

/// What all connections look at.
#[derive(Debug, Clone)]
struct Line {
    mode: Mode,
    /// How often everything was cut.
    cuts: u64,
    server: PgConnectOptions,
}

/// A running proxy; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    url: String,
    line: watch::Sender<Line>,
    asked: Arc<AtomicU64>,
    running: JoinHandle<()>,
}

impl Proxy {
    /// Starts one before the database of this URL.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().expect("the test's URL");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let url = wire::url_through(&server, port);
        let line = watch::Sender::new(Line { mode: Mode::Open, cuts: 0, server });
        let (sender, asked) = (line.clone(), Arc::<AtomicU64>::default());
        let count = Arc::clone(&asked);
        let running = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                serving.spawn(serve(client, sender.subscribe(), Arc::clone(&count)));
                while serving.try_join_next().is_some() {}
            }
        });
        Self { url, line, asked, running }
    }

    /// The URL that leads through it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many statements were asked for through it.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Makes the line so.
    pub fn set(&self, mode: Mode) {
        self.line.send_modify(|line| line.mode = mode);
    }

    /// Ends every connection; the next ones are served.
    pub fn cut(&self) {
        self.line.send_modify(|line| line.cuts += 1);
    }

    /// Ends every connection, and leads the next ones to the server of this URL.
    ///
    /// # Panics
    /// When it is none.
    pub fn lead_to(&self, url: &str) {
        let server: PgConnectOptions = url.parse().expect("a test's URL");
        self.line.send_modify(|line| {
            line.server = server;
            line.cuts += 1;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Serves one client until either side ends, or the line breaks.
async fn serve(mut client: TcpStream, mut line: watch::Receiver<Line>, asked: Arc<AtomicU64>) {
    let Ok(born) = line.wait_for(|line| line.mode != Mode::Frozen).await.map(|line| line.clone()) else {
        return;
    };
    if born.mode == Mode::HalfOpen {
        return silence(&mut client).await;
    }
    // A server that is down refuses us, and we our client.
    let Ok(server) = wire::connect(&born.server).await else { return };
    let (mut from_server, mut to_server) = split(server);
    let (mut from_client, mut to_client) = client.split();
    let (asks, answers) = (line.clone(), line.clone());
    let fell_silent = tokio::select! {
        () = pump(&mut from_client, &mut to_server, asks, Some(&asked)) => false,
        () = pump(&mut from_server, &mut to_client, answers, None) => false,
        broken = line.wait_for(|now| now.cuts != born.cuts || now.mode == Mode::HalfOpen) => {
            broken.is_ok_and(|now| now.mode == Mode::HalfOpen)
        }
    };
    drop((from_server, to_server));
    if fell_silent {
        silence(&mut client).await;
    }
}

/// Hears a client until it leaves, and never answers.
async fn silence(client: &mut TcpStream) {
    // That it left, or how, is nobody's business here.
    drop(copy(client, &mut sink()).await);
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut line: watch::Receiver<Line>,
    asked: Option<&AtomicU64>,
) {
    let (mut chunk, mut statements) = (vec![0; CHUNK], wire::Asked::default());
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let Ok(mode) = line.wait_for(|line| line.mode != Mode::Frozen).await.map(|line| line.mode) else {
            return;
        };
        if let Some(asked) = asked {
            asked.fetch_add(statements.count(&chunk[..read]), Ordering::Relaxed);
            if let Mode::Slow(by) = mode {
                tokio::time::sleep(by).await;
            }
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
}
