//! Offers jobs from a process of its own, which may end between any two statements of it: `offer plain|keyed COUNT`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's own program reports by panicking"
)]

use std::time::Duration;

use jobs::config::DatabaseConfig;
use jobs::payload::noop::Noop;
use jobs::queue::{NewJob, enqueue_all};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [sort, count] = arguments.as_slice() else { panic!("offer plain|keyed COUNT, not {arguments:?}") };
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL says where to");
    let config = DatabaseConfig { url: url.into(), connections: 2 };
    let db = jobs::db::connect(&config).await.unwrap();
    let count: u32 = count.parse().unwrap();
    let offered = (1..=count).map(|number| {
        let job = NewJob::of(&Noop { note: number.to_string(), ..Noop::default() }).unwrap();
        match sort.as_str() {
            "plain" => job,
            "keyed" => {
                let line = format!("line-{}", number % 2);
                job.unique(format!("offer-{number}"), Some(Duration::from_secs(3_600))).ordered(line)
            }
            other => panic!("`{other}` is no sort of jobs"),
        }
    });
    let enqueued = enqueue_all(&db, offered.collect()).await.unwrap();
    assert_eq!(enqueued.len(), usize::try_from(count).unwrap());
}
