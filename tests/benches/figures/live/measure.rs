//! How much there is of everything, and what is measured one after the other.

use std::time::{Duration, Instant};

use tests::Database;
use uuid::Uuid;

use super::crowd::{Crowd, silent};
use super::stage::{Stage, allow_files};
use crate::memory::mib;

/// Set, it makes everything small: to see that it works, and not to measure.
const SHORT: &str = "BENCH_SHORT";

/// How soon all who listen are to have heard of an event, of 99 in a hundred.
const AIM_MS: f64 = 100.0;

/// How long the process may settle before its memory is told.
const SETTLE: Duration = Duration::from_secs(3);

/// What those who read nothing are told: so many events of so many bytes, more than the kernel keeps for them.
const FLOOD: (i32, i32) = (2_500, 3_500);

/// How long until all of them must be dropped.
const DROPPED_WITHIN: Duration = Duration::from_secs(120);

/// How much there is of everything.
struct Size {
    connections: usize,
    departments: usize,
    /// Connections that read nothing.
    silent: usize,
    /// How long each part is measured.
    span: Duration,
}

impl Size {
    fn get() -> Self {
        if std::env::var_os(SHORT).is_none() {
            return Self { connections: 5_000, departments: 500, silent: 50, span: Duration::from_secs(30) };
        }
        Self { connections: 200, departments: 20, silent: 5, span: Duration::from_secs(3) }
    }
}

/// How late something was heard.
struct Late {
    /// Each receipt, and of each event the last.
    each: Vec<f64>,
    last: Vec<f64>,
    /// Receipts that there should not have been, or that were not there.
    wrong: usize,
}

/// Measures and prints.
pub(crate) async fn measure(database: &Database) {
    let size = Size::get();
    let build =
        if cfg!(debug_assertions) { "a debug build, which measures nothing" } else { "a release build" };
    let all = size.connections + size.silent;
    println!("## {} open subscriptions\n", size.connections);
    println!(
        "Each on a WebSocket of its own (graphql-transport-ws) over loopback to one API process, by {} API keys; {build}. Those who listen \
         are one process beside it, on the same cores. From before the commit of an event to its receipt by the client.\n",
        all.div_ceil(100)
    );
    allow_files(u64::try_from(2 * all + 2_000).unwrap());
    let mut stage = Stage::set(database, all, size.departments).await;
    tokio::time::sleep(SETTLE).await;
    println!(
        "| the API process | resident MiB | of it not shared | of that for each subscription, KiB |\n| --- | --- | --- | --- |"
    );
    let before = memory_row(&stage, "with none", None, &size);
    let crowd = Crowd::gather(&stage, size.connections).await;
    let one = stage.departments[0];
    crowd.listen(&[one]).await;
    tokio::time::sleep(SETTLE).await;
    memory_row(&stage, "with all open", Some(before), &size);

    let mut rows = Vec::new();
    rows.push(told(&mut stage, &crowd, &[one], 2, size.span, "2 events a second, each to all").await);
    let departments = stage.departments.clone();
    for rate in [50, 500] {
        let what = format!(
            "{rate} events a second of {} things, each to {}",
            size.departments,
            size.connections / size.departments
        );
        rows.push(told(&mut stage, &crowd, &departments, rate, size.span, &what).await);
    }
    memory_row(&stage, "after all that is told below", Some(before), &size);
    let slow = slow(&mut stage, &crowd, &size, one).await;
    rows.push(slow.1);
    memory_row(&stage, "after the slow ones", Some(before), &size);
    assert!(crowd.is_whole(), "somebody who reads was sent away");
    println!(
        "\n| what | events | receipts | not once | p50 ms | p99 ms | most ms | the last who hears it, p50 ms | p99 ms | most ms |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for (what, late) in &rows {
        let [each, last] = [&late.each, &late.last]
            .map(|ms| format!("{:.2} | {:.2} | {:.2}", part(ms, 0.5), part(ms, 0.99), part(ms, 1.0)));
        println!("| {what} | {} | {} | {} | {each} | {last} |", late.last.len(), late.each.len(), late.wrong);
    }
    let reached = part(&rows[0].1.last, 0.99);
    let word = if reached <= AIM_MS { "reached" } else { "**missed**" };
    println!(
        "\nThe aim, {AIM_MS:.0} ms from the commit to the last of all for 99 in a hundred events: {reached:.2} ms, {word}."
    );
    println!("{}\n", slow.0);
    drop(crowd);
    stage.strike().await;
}

fn memory_row(stage: &Stage, what: &str, before: Option<f64>, size: &Size) -> f64 {
    let (resident, own) = mib(&stage.api);
    let connections = f64::from(u32::try_from(size.connections).unwrap());
    let each = before.map_or(String::new(), |before| format!("{:.1}", (own - before) * 1024.0 / connections));
    println!("| {what} | {resident:.1} | {own:.1} | {each} |");
    own
}

/// Has things happen at a rate, one department after the other, and tells how late they were heard.
async fn told(
    stage: &mut Stage,
    crowd: &Crowd,
    departments: &[Uuid],
    rate: u32,
    span: Duration,
    what: &str,
) -> (String, Late) {
    let each = crowd.listen(departments).await;
    (what.to_owned(), happen(stage, crowd, departments, each, rate, span).await)
}

async fn happen(
    stage: &mut Stage,
    crowd: &Crowd,
    departments: &[Uuid],
    each: usize,
    rate: u32,
    span: Duration,
) -> Late {
    let first = stage.told.len();
    let began = Instant::now();
    let mut due = tokio::time::interval(Duration::from_secs(1) / rate);
    for department in departments.iter().cycle() {
        due.tick().await;
        if began.elapsed() >= span {
            break;
        }
        stage.happen(*department).await;
    }
    let events = stage.told.len() - first;
    let heard = crowd.heard(events * each).await;
    let mut late = Late { each: Vec::new(), last: vec![0.0; events], wrong: 0 };
    let mut times = vec![0; events];
    for one in heard {
        // In order, too.
        late.wrong += one.windows(2).filter(|pair| pair[0].0 >= pair[1].0).count();
        for (number, at) in one {
            let ms = at.duration_since(stage.told[number]).as_secs_f64() * 1_000.0;
            late.each.push(ms);
            late.last[number - first] = late.last[number - first].max(ms);
            times[number - first] += 1;
        }
    }
    late.wrong += times.iter().map(|times| each.abs_diff(*times)).sum::<usize>();
    late
}

/// Tells much to some who read nothing, and goes on with all the others meanwhile.
async fn slow(stage: &mut Stage, crowd: &Crowd, size: &Size, one: Uuid) -> (String, (String, Late)) {
    let other = stage.departments[1];
    crowd.listen(&[one]).await;
    let silent = silent(stage, size.connections, size.silent, other).await;
    let (events, bytes) = FLOOD;
    let began = Instant::now();
    stage.flood(other, events, bytes).await;
    let late = happen(stage, crowd, &[one], size.connections, 2, size.span).await;
    let mut dropped = stage.dropped().await;
    while dropped < size.silent && began.elapsed() < DROPPED_WITHIN {
        tokio::time::sleep(Duration::from_millis(100)).await;
        dropped = stage.dropped().await;
    }
    let told = format!(
        "Of {} more who read nothing, and were told {events} events of {bytes} bytes, {dropped} were dropped within {:.0} s.",
        silent.len(),
        began.elapsed().as_secs_f64()
    );
    (told, ("2 events a second, each to all, while slow ones are dropped".into(), late))
}

/// The value below which such a part of all lies.
fn part(ms: &[f64], part: f64) -> f64 {
    let mut sorted = ms.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let place = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(place).copied().unwrap_or_default()
}
