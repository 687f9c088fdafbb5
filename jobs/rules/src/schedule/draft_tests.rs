//! What is wrong with a draft is told with its field, the reason and the remedy.

use super::*;

fn now() -> DateTime<Utc> {
    "2026-11-22T10:00:00.5Z".parse().unwrap()
}

fn faults(draft: Draft<'_>) -> Vec<(&'static str, String)> {
    When::read(&draft, now()).unwrap_err().into_iter().map(|fault| (fault.field, fault.message)).collect()
}

#[test]
fn each_wrong_draft_names_the_field_and_the_remedy() {
    let none = Draft::default();
    let past = now() - TimeDelta::seconds(1);
    let cases: [(Draft<'_>, &str, &str); 12] = [
        (none, "cron", "give one of them"),
        (
            Draft { cron: Some("* * * * *"), interval_s: Some(5), ..none },
            "intervalSeconds",
            "take the other away",
        ),
        (Draft { cron: Some("* * * * *"), at: Some(past), ..none }, "at", "take the other away"),
        (Draft { cron: Some("0 0 30 2 *"), ..none }, "cron", "never comes true"),
        (Draft { cron: Some("61 * * * *"), ..none }, "cron", "0 to 59"),
        (
            Draft { cron: Some("@daily"), time_zone: Some("Europe/Berln"), ..none },
            "timeZone",
            "`Europe/Berlin`",
        ),
        (Draft { interval_s: Some(5), time_zone: Some("UTC"), ..none }, "timeZone", "leave it out"),
        (Draft { interval_s: Some(0), ..none }, "intervalSeconds", "between 1 and 31622400"),
        (Draft { interval_s: Some(-5), ..none }, "intervalSeconds", "is -5"),
        (Draft { interval_s: Some(i64::MAX), ..none }, "intervalSeconds", "31622400"),
        (Draft { at: Some(past), ..none }, "at", "in the past"),
        (Draft { at: Some(DateTime::<Utc>::MAX_UTC), ..none }, "at", "take a nearer time"),
    ];
    for (draft, field, says) in cases {
        let told = faults(draft);
        assert!(told.len() == 1 && told[0].0 == field && told[0].1.contains(says), "{draft:?}: {told:?}");
    }
    let both = faults(Draft { interval_s: Some(0), time_zone: Some("UTC"), ..none });
    assert_eq!(both.len(), 2, "{both:?}");
}

#[test]
fn a_sound_draft_is_kept_as_it_will_be_read_again() {
    let cron =
        Draft { cron: Some(" 0 7 * * MON-FRI "), time_zone: Some("Europe/Berlin"), ..Draft::default() };
    let when = When::read(&cron, now()).unwrap();
    assert_eq!(when, When::Cron { line: "0 7 * * MON-FRI".into(), zone: "Europe/Berlin".into() });
    let next = when.timing().unwrap().next_after(now()).unwrap();
    assert_eq!(next.to_rfc3339(), "2026-11-23T06:00:00+00:00");
    let every = When::read(&Draft { interval_s: Some(90), ..Draft::default() }, now()).unwrap();
    let next = every.timing().unwrap().next_after(now()).unwrap();
    assert_eq!(next.to_rfc3339(), "2026-11-22T10:01:30+00:00");
    // An interval may have begun long ago: its ticks keep their step.
    let begun = Draft {
        interval_s: Some(3_600),
        at: Some("2026-01-01T00:15:00Z".parse().unwrap()),
        ..Draft::default()
    };
    let next = When::read(&begun, now()).unwrap().timing().unwrap().next_after(now()).unwrap();
    assert_eq!(next.to_rfc3339(), "2026-11-22T10:15:00+00:00");
}
