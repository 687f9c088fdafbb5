//! A wire to the database that is cut once: when a word passes from the server, before the client has it.
//!
//! What the server did is then committed, and nobody was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::Database;
use crate::wire::{self, Side};

/// Bytes handed on at once; an answer that is to be cut must fit.
const CHUNK: usize = 64 * 1024;

/// A running cutter in front of one database; ends when dropped.
pub struct Cutter {
    url: String,
    cuts: Arc<AtomicU32>,
    running: JoinHandle<()>,
}

impl Cutter {
    /// Starts one before this database, for the first answer that holds `word`.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn start(database: &Database, word: &'static str) -> Self {
        let server: PgConnectOptions = database.url().parse().expect("the test's URL");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let url = wire::url_through(&server, port);
        let cuts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&cuts);
        let running = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = wire::connect(&server).await.expect("the test's database answers");
                tokio::spawn(pass(client, server, word, Arc::clone(&counted)));
            }
        });
        Self { url, cuts, running }
    }

    /// The URL that leads through it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How often it has cut: never or once.
    pub fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Hands on what either says, until one ends or the word passes.
async fn pass(client: TcpStream, server: Side, word: &str, cuts: Arc<AtomicU32>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = split(server);
    let answers = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = match from_server.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            let said = &chunk[..read];
            let heard = said.windows(word.len()).any(|w| w == word.as_bytes());
            if heard && cuts.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                return;
            }
            if to_client.write_all(said).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = answers => {}
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
    }
}
