//! Crash points are in the code, each in one place, and in no executable that is shipped.

use std::process::Command;

use jobs::crash::Point;

use crate::tidy::{files, refuse};

#[test]
fn every_crash_point_stands_in_one_place() {
    let sources: String = files(&[".rs"])
        .into_iter()
        .filter(|(path, _)| !path.starts_with("tests/"))
        .map(|(_, text)| text)
        .collect();
    let faults: Vec<String> = Point::ALL
        .iter()
        .map(|point| (point, sources.matches(&format!("crash::at(Point::{point:?})")).count()))
        .filter(|(_, places)| *places != 1)
        .map(|(point, places)| format!("{point:?} ({}): {places} places", point.name()))
        .collect();
    refuse("a crash point is one place between two statements", &faults);
}

#[test]
fn the_executable_has_no_crash_points() {
    // By a program of its own: a debug build takes a dozen seconds to go through a debug build.
    let has = |word: &str| {
        let found = Command::new("grep").args(["-aqF", word]).arg(tests::process::binary()).status().unwrap();
        assert!(matches!(found.code(), Some(0 | 1)), "grep reads the executable: {found}");
        found.success()
    };
    assert!(has("DATABASE_URL"), "the names of settings are not to be found in it");
    assert!(!has("MILLRACE_CRASH_AT"), "it was built with the feature `crash-points`");
}
