//! How much there is of everything, and what is measured one after the other.

use std::time::Duration;

use tests::Database;

use super::run::{self, Column, Way};
use super::stage::Stage;

/// Set, it makes everything small: to see that it works, and not to measure.
const SHORT: &str = "BENCH_SHORT";

/// How much there is of everything.
#[derive(Debug, Clone)]
pub(super) struct Size {
    pub(super) hosts: usize,
    pub(super) machines: usize,
    /// How long each part is measured.
    pub(super) span: Duration,
    /// Connections of those who ask all the time, fields of each of their documents, and machines of each mutation of many.
    pub(super) callers: usize,
    pub(super) fields: usize,
    pub(super) listed: usize,
    /// The most operations that are asked for and have not reached libvirt, for each machine.
    pub(super) ahead: usize,
    /// How many documents of one field a second, where it is timed how soon libvirt is called.
    pub(super) rates: Vec<u32>,
}

impl Size {
    fn get() -> Self {
        let whole = Self {
            hosts: 100,
            machines: 1_000,
            span: Duration::from_secs(60),
            callers: 16,
            fields: 20,
            listed: 63,
            ahead: 2,
            rates: vec![100, 500],
        };
        if std::env::var_os(SHORT).is_none() {
            return whole;
        }
        Self { hosts: 5, machines: 40, span: Duration::from_secs(5), callers: 4, rates: vec![20], ..whole }
    }
}

fn print_columns(columns: &[Column]) {
    let row = |cells: Vec<&str>| println!("| {} |", cells.join(" | "));
    row(std::iter::once("what").chain(columns.iter().map(|column| column.title.as_str())).collect());
    row(std::iter::once("---").chain(columns.iter().map(|_| "---")).collect());
    for (place, (what, _)) in columns[0].figures.iter().enumerate() {
        let figures = columns.iter().map(|column| column.figures[place].1.as_str());
        row(std::iter::once(*what).chain(figures).collect());
    }
    println!();
}

/// Measures and prints.
pub(crate) async fn measure(database: &Database) {
    let size = Size::get();
    println!("## Machines, from the mutation to libvirt\n");
    crate::machines::clear(database).await;
    let stage = Stage::set(database, &size).await;
    stage.print_settings(&size);
    let mut columns = Vec::new();
    for way in [Way::Fields(size.fields), Way::Listed(size.listed)] {
        columns.push(run::throughput(&stage, &size, way).await);
    }
    print_columns(&columns);
    println!(
        "| documents a second, of one field | calls of libvirt | p50 ms | p95 ms | p99 ms | most ms | its return, p50 ms | p99 ms |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    );
    for rate in &size.rates {
        run::latency(&stage, &size, *rate).await;
    }
    println!(
        "\nFrom the moment at which a document was due to be sent, whether or not the one before was answered, to the call of libvirt's driver and to its return.\n"
    );
    stage.strike().await;
    crate::machines::clear(database).await;
}
