//! Crash points are in the code, each in one place, and in no executable that is shipped.

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
    let executable = std::fs::read(tests::process::binary()).unwrap();
    let has = |word: &str| executable.windows(word.len()).any(|bytes| bytes == word.as_bytes());
    assert!(has("DATABASE_URL"), "the names of settings are not to be found in it");
    assert!(!has("MILLRACE_CRASH_AT"), "it was built with the feature `crash-points`");
}
