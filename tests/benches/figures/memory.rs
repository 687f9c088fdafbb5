//! What each role holds in memory while it has nothing to do.

use std::time::Duration;

use tests::{Database, Millrace};

/// How long a role may settle: pools open, caches fill, first sweeps pass.
const SETTLE: Duration = Duration::from_secs(8);

/// Keys for roles that need them; any will do for idling.
const KEYRING: &str =
    "bench:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
const JWT_SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Each role with its arguments.
const ROLES: [(&str, &[&str]); 4] = [
    ("api", &["api"]),
    ("worker, all pools", &["worker", "--pools", "dag,events,audit,maintenance"]),
    ("scheduler", &["scheduler"]),
    ("up, without Postgres", &["up"]),
];

/// Measures and prints.
pub(crate) async fn measure(database: &Database) {
    println!("## Memory of idle roles\n");
    println!("| role | resident MiB | of it not shared with other processes |\n| --- | --- | --- |");
    let home = tempfile::tempdir().unwrap();
    let home = home.path().join("home");
    for (role, arguments) in ROLES {
        let variables = [
            ("DATABASE_URL", database.url()),
            ("MILLRACE_HOME", home.to_str().unwrap()),
            ("KEYRING", KEYRING),
            ("JWT_SECRET", JWT_SECRET),
            ("PORT", "0"),
        ];
        let mut process = Millrace::start(arguments, &variables);
        tokio::time::sleep(SETTLE).await;
        assert!(process.is_running(), "{}", process.log());
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid())).unwrap();
        let mib = |name: &str| -> f64 {
            let lines = rollup.lines().filter_map(|l| l.strip_prefix(name));
            lines.filter_map(|l| l.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1024.0
        };
        println!("| {role} | {:.1} | {:.1} |", mib("Rss:"), mib("Private_Clean:") + mib("Private_Dirty:"));
        process.stop(Duration::from_secs(30)).await;
    }
    println!();
}
