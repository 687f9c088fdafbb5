//! A client of HTTP/2 that takes in nothing of its stream, and stays connected.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Client, Database, Door, Stream, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::listen::{DEPARTMENT, department};
use crate::api_identity::tenant;

/// Sorts of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;

/// A connection on each stream of which the server may send so many bytes, and no more.
struct Deaf(TcpStream);

impl Deaf {
    async fn open(client: &Client, room: u32) -> Self {
        let mut deaf = Self(TcpStream::connect(client.address()).await.unwrap());
        deaf.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // SETTINGS_INITIAL_WINDOW_SIZE.
        deaf.send(SETTINGS, 0, 0, &[[0, 4].as_slice(), &room.to_be_bytes()].concat()).await;
        deaf
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame of this sort.
    async fn next(&mut self, wanted: u8) -> Vec<u8> {
        let reading = async {
            loop {
                let mut head = [0; 9];
                self.0.read_exact(&mut head).await.unwrap();
                let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
                self.0.read_exact(&mut payload).await.unwrap();
                if head[3] == wanted {
                    return payload;
                }
            }
        };
        tokio::time::timeout(wait::LIMIT, reading).await.expect("a frame comes")
    }

    /// Asks for events on a stream of this number. Tells whether they will be told, as soon as that is answered.
    async fn subscribe(&mut self, stream: u32, client: &Client, variables: &Value) -> bool {
        let (mut block, shown) = (Vec::new(), &client.headers()[0]);
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/graphql"),
            (":authority", "test"),
            ("content-type", "application/json"),
            ("accept", "text/event-stream"),
            (shown.0, shown.1.as_str()),
        ] {
            block.push(0);
            literal(&mut block, name);
            literal(&mut block, value);
        }
        self.send(HEADERS, 4, stream, &block).await;
        let body = json!({"query": DEPARTMENT, "variables": variables}).to_string();
        self.send(DATA, 1, stream, body.as_bytes()).await;
        // 200, by its place in the table that both ends know.
        self.next(HEADERS).await[0] == 0x88
    }
}

/// A text of a head, with its length before it.
fn literal(block: &mut Vec<u8>, text: &str) {
    match text.len().checked_sub(0x7f) {
        None => block.push(u8::try_from(text.len()).unwrap()),
        Some(mut more) => {
            block.push(0x7f);
            while more >= 0x80 {
                block.push(0x80 | u8::try_from(more & 0x7f).unwrap());
                more >>= 7;
            }
            block.push(u8::try_from(more).unwrap());
        }
    }
    block.extend(text.as_bytes());
}

/// At a door with a place for one stream: one holds it that may be sent so many bytes, and is told as many events.
async fn goes_unread(database: &Database, room: u32, events: i32) {
    let door = Door::with(database, |config| {
        config.limits.live_streams = 1;
        config.limits.live_breath = Duration::from_millis(200);
        config.limits.live_take_in = Duration::from_millis(500);
    })
    .await;
    let admin = door.admin().await;
    let tenant = tenant(&admin, &format!("of-{room}")).await;
    let id = department(&admin, &tenant, "D").await;
    let asked = json!({"t": tenant, "id": id});
    let joins = async || {
        let told = Stream::open(&admin, DEPARTMENT, asked.clone()).await.next().await;
        told.is_some_and(|told| told["data"]["departmentEvents"]["name"] == "joined")
    };
    let mut deaf = Deaf::open(&admin, room).await;
    assert!(deaf.subscribe(1, &admin, &asked).await);
    assert!(!joins().await, "it holds the only place");
    let mut conn = database.connect().await;
    let many = "insert into event (tenant_id, topic, topic_id, name, data)
        select $1::text::uuid, 'DEPARTMENT', $2::text::uuid, 'n', to_jsonb(n) from generate_series(1, $3) n";
    let many = sqlx::query(many).bind(tenant.as_str().unwrap()).bind(id.as_str().unwrap()).bind(events);
    many.execute(&mut conn).await.unwrap();
    wait::until("its place is free again", joins).await;
    // The connection is as good as ever.
    deaf.send(PING, 0, 0, b"8 bytes.").await;
    while deaf.next(PING).await != b"8 bytes." {}
    drop(deaf);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_http_2_that_is_never_read_gives_back_what_it_holds() {
    let database = Database::new().await;
    // One that has no room from the beginning, and nothing to be told; and one that has some, and much.
    tokio::join!(goes_unread(&database, 0, 0), goes_unread(&database, 400, 1_000));
}
