//! Either side of a connection to a test's database, and the way to its server.

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
