//! The API inside the test's process, on the test's database, and a plain client for it.

use std::net::SocketAddr;
use std::sync::Arc;

use api::{ApiConfig, App};
use jobs::queue::Wake;
use rules::seal::{KEY_BYTES, Keyring};
use script::{Limits, Sandbox};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Database;

/// An API process' inside, without the process.
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// The keys that it seals with.
    pub keyring: Arc<Keyring>,
    /// The sandbox that it compiles with.
    pub sandbox: Arc<Sandbox>,
    shutdown: CancellationToken,
    serving: JoinHandle<jobs::Result<()>>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Door {
    /// Opens on a free port of the loopback.
    ///
    /// # Panics
    /// When there is no port, or no database.
    pub async fn open(database: &Database) -> Self {
        let shutdown = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let db = database.pool().await;
        let wake = Wake::start(&db, &shutdown);
        let key = Keyring::text_of("test", &[7; KEY_BYTES]);
        let keyring = Arc::new(Keyring::parse(key.expose_secret()).ok().unwrap());
        let sandbox = Arc::new(Sandbox::new(Limits::default()));
        let config = ApiConfig::new(address, "a secret that only this test knows".to_owned().into());
        let app = App::new(db, wake, Arc::clone(&sandbox), Arc::clone(&keyring), config);
        let serving = tokio::spawn(api::serve(listener, app, shutdown.clone()));
        Self { address, keyring, sandbox, shutdown, serving }
    }

    /// Posts a body.
    ///
    /// # Panics
    /// When the connection breaks.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer { status: status.expect("an answer has a status"), text: text.to_owned() }
    }

    /// Stops as a signal would, and waits for the end.
    ///
    /// # Panics
    /// When the server ends badly.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.serving.await.expect("the server does not panic").expect("the server ends well");
    }
}
