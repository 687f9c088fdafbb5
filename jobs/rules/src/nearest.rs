//! Finds the name that was probably meant among those that there are.

/// How far from each other two names may be that one of them is taken for a slip of the other: letters
/// that differ, are missing or have changed places.
const MAX_SLIPS: usize = 2;

/// A longer name than this, in bytes, is not compared: it takes too long, and nobody types it.
const MAX_COMPARED_BYTES: usize = 100;

/// How many names a message tells.
pub const MAX_TOLD_NAMES: usize = 5;

/// The name that differs least, if it differs by a slip or two. Capitals are no difference.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A slip changes a name's length by so much at most; that spares most names the comparison.
    let near =
        |name: &&str| name.len().abs_diff(wanted.len()) <= 4 * MAX_SLIPS && name.len() <= MAX_COMPARED_BYTES;
    let slips = |name: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase());
    let most = MAX_SLIPS.min(wanted.chars().count() / 2);
    let found = names.into_iter().filter(near).map(|name| (slips(name), name)).min();
    found.filter(|(slips, _)| *slips <= most).map(|(_, name)| name)
}

/// What to take instead of a name that does not exist: the nearest, else some that there are. `none` is said
/// where there are none at all.
pub fn instead(wanted: &str, names: &[&str], none: &str) -> String {
    if let Some(name) = nearest(wanted, names.iter().copied()) {
        return format!("`{name}` is the nearest name that there is");
    }
    let told: Vec<String> = names.iter().take(MAX_TOLD_NAMES).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => none.to_owned(),
        1 => format!("there is {}", told.join(", ")),
        many if many > MAX_TOLD_NAMES => {
            format!("there are {} and {} more", told.join(", "), many - told.len())
        }
        _ => format!("there are {}", told.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_told_or_some_that_there_are() {
        let kinds = ["run.node", "run.advance", "audit.flush"];
        assert_eq!(instead("run.nod", &kinds, ""), "`run.node` is the nearest name that there is");
        assert_eq!(instead("RUN.NODE", &kinds, ""), "`run.node` is the nearest name that there is");
        assert_eq!(instead("x", &kinds, ""), "there are `run.node`, `run.advance`, `audit.flush`");
        assert_eq!(instead("x", &["a1"], ""), "there is `a1`");
        assert_eq!(instead("x", &[], "there is none"), "there is none");
        let many = ["a1", "b2", "c3", "d4", "e5", "f6", "g7"];
        assert_eq!(instead("x", &many, ""), "there are `a1`, `b2`, `c3`, `d4`, `e5` and 2 more");
        assert_eq!(nearest(&"y".repeat(5_000), many), None);
    }
}
