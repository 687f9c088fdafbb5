//! Does what a driver is called with, and prints what it came to.
//!
//! | verb | what is done |
//! | --- | --- |
//! | `setup` | makes the peer's schema in an empty database |
//! | `one JOBS CLIENTS SECONDS` | puts jobs in one by one, each client with call after call of its own, until all are in or the time is up |
//! | `many JOBS` | puts jobs in by the peer's call for many, a thousand each |
//! | `drain JOBS SECONDS` | starts one worker and ends when all are done and that is committed, or when the time is up |
//! | `idle JOBS FILE` | starts one worker that finds nothing to do, says `READY`, and writes when each job's handler began |
//! | `pace JOBS GAP_MS FILE` | puts jobs in at a steady pace, and writes when each call began and returned |
//!
//! Drivers in other languages are called with the same words.

use std::time::Duration;

use super::verbs::{Peer, Tally, many, one_by_one, pace};

/// How long an idle worker waits for its jobs.
const IDLE: Duration = Duration::from_secs(90);

/// Does what the arguments say on the database of `DATABASE_URL`.
pub(crate) async fn play<P: Peer>(arguments: &[String]) {
    let url = std::env::var("DATABASE_URL").expect("`DATABASE_URL` names the database");
    let number = |at: usize| -> u64 { arguments[at].parse().expect("a number") };
    match arguments[0].as_str() {
        "setup" => P::open(&url, 2).await.setup().await,
        "one" => {
            tell(one_by_one::<P>(&url, number(1), number(2), Duration::from_secs(number(3))).await);
        }
        "many" => tell(many::<P>(&url, number(1)).await),
        "drain" => {
            let peer = P::open(&url, P::CONNECTIONS).await;
            tell(peer.drain(number(1), Duration::from_secs(number(2))).await);
        }
        "idle" => {
            let peer = P::open(&url, P::CONNECTIONS).await;
            let began = peer.idle(number(1), IDLE, || println!("READY")).await;
            write(&arguments[2], began.iter().map(|(job, at)| format!("[{job},{at}]")));
        }
        "pace" => {
            let calls = pace::<P>(&url, number(1), Duration::from_millis(number(2))).await;
            write(&arguments[3], calls.iter().map(|(job, from, to)| format!("[{job},{from},{to}]")));
        }
        other => panic!("`{other}` is no verb"),
    }
}

fn tell(tally: Tally) {
    let Tally { jobs, seconds, cut } = tally;
    println!("RESULT {{\"jobs\": {jobs}, \"seconds\": {seconds:.6}, \"cut\": {cut}}}");
}

fn write(path: &str, rows: impl Iterator<Item = String>) {
    let rows: Vec<String> = rows.collect();
    std::fs::write(path, format!("[{}]", rows.join(","))).expect("the file can be written");
}
