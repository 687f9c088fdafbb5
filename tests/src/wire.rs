//! Either side of a connection to a test's database, what is asked over it, and the way to its server.

use std::io;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Either side of a connection.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A side whose sort does not matter.
pub(crate) type Side = Box<dyn Wire>;

/// Connects to the server, by its socket or by its address.
pub(crate) async fn connect(server: &PgConnectOptions) -> io::Result<Side> {
    match server.get_socket() {
        Some(folder) => {
            let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
            Ok(Box::new(UnixStream::connect(path).await?))
        }
        None => Ok(Box::new(TcpStream::connect((server.get_host(), server.get_port())).await?)),
    }
}

/// The URL by which this server's database is reached through a port of this machine.
pub(crate) fn url_through(server: &PgConnectOptions, port: u16) -> String {
    let name = server.get_database().expect("a database");
    format!("postgres://{}@127.0.0.1:{port}/{name}?sslmode=disable", server.get_username())
}

/// Counts the statements that a client has executed, by the messages that it sends: those with parameters or prepared, and
/// not the words that begin, end and set.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Whether the first message, which has no letter, has begun.
    greeted: bool,
    head: Vec<u8>,
    /// What is left of the message.
    rest: usize,
}

impl Asked {
    /// How many begin within these bytes.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut count = 0;
        while let Some((first, others)) = bytes.split_first() {
            if self.rest > 0 {
                let skipped = self.rest.min(bytes.len());
                self.rest -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(*first);
            bytes = others;
            let letter = usize::from(self.greeted);
            let Ok(length) = <[u8; 4]>::try_from(&self.head[letter.min(self.head.len())..]) else { continue };
            count += u64::from(self.greeted && self.head[0] == b'E');
            self.rest = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).saturating_sub(4);
            self.greeted = true;
            self.head.clear();
        }
        count
    }
}
