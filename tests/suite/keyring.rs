//! The keyring: proved before anybody listens, never replaced silently.

use std::path::Path;
use std::time::Duration;

use rules::seal::{KEY_BYTES, Keyring};
use secrecy::ExposeSecret;
use tests::{Database, Millrace, process};

/// How long a drain may take: nothing is running in these tests.
const STOP_LIMIT: Duration = Duration::from_secs(30);

fn ring(id: &str, fill: u8) -> String {
    Keyring::text_of(id, &[fill; KEY_BYTES]).expose_secret().to_owned()
}

/// A start that is refused: its exit code and what it says.
async fn refused(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut process = Millrace::start(arguments, variables);
    let ended = process.ended(STOP_LIMIT).await;
    assert_eq!(ended.code(), Some(2), "{arguments:?}: {}", process.log());
    process.log()
}

async fn starts_and_stops(arguments: &[&str], variables: &[(&str, &str)], says: &str) {
    let mut process = Millrace::start(arguments, variables);
    process.printed(says).await;
    assert!(process.stop(STOP_LIMIT).await.success(), "{}", process.log());
}

#[tokio::test]
async fn a_lost_keyring_is_never_made_anew() {
    let database = Database::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home").to_str().unwrap().to_owned();
    let variables = [("MILLRACE_HOME", home.as_str()), ("PORT", "0"), ("DATABASE_URL", database.url())];
    starts_and_stops(&["up"], &variables, "millrace is up").await;

    let file = format!("{home}/secrets");
    let secrets = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let told = refused(&["up"], &variables).await;
    assert!(told.contains("`KEYRING`") && told.contains(&file) && told.contains("restore"), "{told}");
    assert!(!Path::new(&file).exists(), "nothing is made that opens nothing");

    // Another folder on the same database is a second home, and must be given the first one's secrets.
    let other = folder.path().join("other").to_str().unwrap().to_owned();
    let elsewhere = [("MILLRACE_HOME", other.as_str()), variables[1], variables[2]];
    let told = refused(&["up"], &elsewhere).await;
    assert!(told.contains("`KEYRING`"), "{told}");
    let seen = process::run(&["doctor", "--json"], &elsewhere);
    assert!(String::from_utf8_lossy(&seen.stdout).contains("there is none here"), "{seen:?}");

    std::fs::write(&file, secrets).unwrap();
    starts_and_stops(&["up"], &variables, "millrace is up").await;
}

#[tokio::test]
async fn a_foreign_keyring_is_refused_and_a_rotated_one_is_not() {
    let database = Database::new().await;
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap().to_owned();
    let with = |keyring: &str| {
        [
            ("MILLRACE_HOME".to_owned(), home.clone()),
            ("PORT".to_owned(), "0".to_owned()),
            ("DATABASE_URL".to_owned(), database.url().to_owned()),
            ("JWT_SECRET".to_owned(), "j".repeat(32)),
            ("KEYRING".to_owned(), keyring.to_owned()),
        ]
    };
    let (old, new) = (ring("old", 1), ring("new", 2));
    let both = format!("{new},{old}");
    for keyring in [&old, &both, &new] {
        let variables = with(keyring);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (&**n, &**v)).collect();
        starts_and_stops(&["api"], &variables, "listening").await;
    }
    for (keyring, says) in [(old, "lacks key `new`"), (ring("new", 3), "another key of the same id")] {
        let variables = with(&keyring);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (&**n, &**v)).collect();
        let told = refused(&["api"], &variables).await;
        assert!(told.contains(says) && told.contains("`KEYRING`"), "{told}");
        let seen = process::run(&["doctor"], &variables);
        assert_eq!(seen.status.code(), Some(1));
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert!(seen.contains("does not open what this installation sealed"), "{seen}");
    }
}
