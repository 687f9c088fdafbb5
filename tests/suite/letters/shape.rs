//! The database gives dead letters the fingerprints that the rules say.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rules::queue::letter::{fingerprint, shape};
use tests::Database;

/// Errors that are compared.
const ERRORS: usize = 3_000;

/// What rules begin, end or are kept from by; and what looks like it.
const PIECES: [&str; 36] = [
    "`", "\"", "'", "''", "\\", "\\1", "$1", "&", "://", "http", "+", "@", "@@", "#", "##", ".", ":", ",",
    "/", " ", "  ", "\n", "\t", "\r", "-", "_", "0", "12", "7f", "a", "Z", "word", "é", "²", "😀", "\u{a0}",
];

#[tokio::test]
async fn the_database_and_the_rules_see_the_same_in_every_error() {
    let database = Database::new().await;
    let mut conn = database.connect().await;
    let mut runner = TestRunner::deterministic();
    let errors = prop_oneof![
        6 => prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat()),
        1 => prop::collection::vec(prop::sample::select(&PIECES[..]), 700..1_500).prop_map(|pieces| pieces.concat()),
        2 => "[ -~]{0,300}",
        1 => any::<String>().prop_map(|text| text.replace('\0', " ")),
    ];
    let errors: Vec<String> = (0..ERRORS).map(|_| errors.new_tree(&mut runner).unwrap().current()).collect();
    let told: Vec<(String, String)> = sqlx::query_as(
        "select error_shape_v1(e.error), letter_fingerprint_v1('queue.noop', e.error)
        from unnest($1::text[]) with ordinality e (error, place) order by e.place",
    )
    .bind(&errors)
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert_eq!(told.len(), errors.len());
    for (error, (shaped, of_group)) in errors.iter().zip(&told) {
        assert_eq!((shaped, of_group), (&shape(error), &fingerprint("queue.noop", error)), "{error:?}");
    }
    // They differ in more than in nothing.
    let different: std::collections::BTreeSet<_> = told.iter().map(|(_, of_group)| of_group).collect();
    assert!(different.len() > ERRORS / 3, "{} of {ERRORS}", different.len());
}
