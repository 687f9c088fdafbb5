//! A pooler in transaction mode: gives each transaction whichever server connection was used last.
//!
//! It knows just enough of Postgres' protocol to do to a client what the common poolers do, so that what
//! depends on sessions can be seen to break.

use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Database;
use crate::wire::{self, Side};

/// A running pooler in front of one database; ends when dropped.
pub struct Pooler {
    url: String,
    running: JoinHandle<()>,
}

struct Shared {
    server: PgConnectOptions,
    refuses_settings: bool,
    /// Server connections that nobody has a transaction on; the last used comes first.
    idle: Mutex<Vec<Side>>,
}

impl Pooler {
    /// Starts one before this database. With `refuses_settings` it lets nobody in who brings session
    /// settings, as PgBouncer does unless told otherwise.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(database: &Database, refuses_settings: bool) -> Self {
        let server: PgConnectOptions = database.url().parse().expect("the test's URL");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let url = wire::url_through(&server, port);
        let shared = Arc::new(Shared { server, refuses_settings, idle: Mutex::default() });
        let running = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    if let Err(error) = serve(Box::new(client), &shared).await {
                        eprintln!("a client of the pooler ended: {error}");
                    }
                });
            }
        });
        Self { url, running }
    }

    /// The URL that leads through it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Shared {
    fn take(&self) -> Side {
        self.idle.lock().expect("no panic").pop().expect("as many servers as clients")
    }

    fn give(&self, server: Side) {
        self.idle.lock().expect("no panic").push(server);
    }
}

async fn serve(mut client: Side, shared: &Shared) -> std::io::Result<()> {
    let startup = frame(&mut client).await?;
    if shared.refuses_settings && startup.windows(8).any(|w| w == b"options\0") {
        let text = b"SFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        return send(&mut client, b'E', text).await;
    }
    let mut server = wire::connect(&shared.server).await?;
    server.write_all(&startup).await?;
    // Each client is let in by a server of its own, which then serves all.
    until_ready(&mut server, &mut client).await?;
    shared.give(server);
    let mut bound: Option<Side> = None;
    loop {
        let (tag, body) = message(&mut client).await?;
        if tag == b'X' {
            break;
        }
        let mut server = bound.take().unwrap_or_else(|| shared.take());
        send(&mut server, tag, &body).await?;
        let ends = matches!(tag, b'Q' | b'S');
        if ends && until_ready(&mut server, &mut client).await? == b'I' {
            shared.give(server);
        } else {
            bound = Some(server);
        }
    }
    Ok(())
}

/// Hands on what the server says until it is ready, and tells in which state of a transaction it is.
async fn until_ready(server: &mut Side, client: &mut Side) -> std::io::Result<u8> {
    loop {
        let (tag, body) = message(server).await?;
        send(client, tag, &body).await?;
        match (tag, body.as_slice()) {
            (b'Z', [state, ..]) => return Ok(*state),
            // A question for the client: password, or a step of SASL.
            (b'R', [0, 0, 0, 3 | 5 | 10 | 11, ..]) => {
                let (tag, body) = message(client).await?;
                send(server, tag, &body).await?;
            }
            _ => {}
        }
    }
}

/// A startup message with its length, which alone has no tag.
async fn frame(from: &mut Side) -> std::io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut all = length.to_be_bytes().to_vec();
    all.resize(length as usize, 0);
    from.read_exact(&mut all[4..]).await?;
    Ok(all)
}

async fn message(from: &mut Side) -> std::io::Result<(u8, Vec<u8>)> {
    let tag = from.read_u8().await?;
    let length = from.read_u32().await? as usize;
    let mut body = vec![0; length - 4];
    from.read_exact(&mut body).await?;
    Ok((tag, body))
}

async fn send(to: &mut Side, tag: u8, body: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(body.len() + 4).expect("a message");
    to.write_all(&[&[tag], length.to_be_bytes().as_slice(), body].concat()).await?;
    to.flush().await
}
