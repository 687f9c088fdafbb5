//! Whether the hypervisor that answers is the one that its host is known by.

use super::Name;

/// What is recorded of who a host's hypervisor is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// By what it said who it is; none when nothing was recorded yet.
    pub identity: Option<String>,
    /// The other host that is recorded with the identity that answers now, if one is.
    pub other: Option<String>,
}

/// Who answers under a host's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquaintance {
    /// Its own hypervisor, or the first that ever did.
    Own,
    /// Another than the host is recorded with: this is why nothing is done there.
    Stranger(String),
}

/// Where a daemon is told who it is, if its machine's firmware does not tell it well.
const HOST_UUID: &str = "`host_uuid` in its `libvirtd.conf`";

impl Acquaintance {
    /// Decides by what is recorded and by what the hypervisor says; one that keeps no machines says nothing.
    pub fn of(host: &Name, known: &Known, answers: Option<&str>) -> Self {
        let own = "start its worker with the address of its own hypervisor";
        match (&known.identity, &known.other) {
            (Some(recorded), _) if answers == Some(recorded) => Self::Own,
            (_, Some(other)) => Self::Stranger(format!(
                "what answers is the hypervisor of host `{other}`: nothing is done there for host `{host}`; {own}; \
                 or, should they be two whose firmware says the same, set {HOST_UUID}; or, {}",
                free_it(other)
            )),
            (Some(recorded), None) => {
                let (who, identity) = (called(answers), answers.unwrap_or_default());
                Self::Stranger(format!(
                    "what answers is another hypervisor ({who}) than the one that host `{host}` is recorded with \
                     (`{recorded}`): nothing is done there; {own}; or, where this one is to be its own from now on, \
                     `millrace host accept {host} --identity '{identity}'`; should it be the same that says another name at each start, first set \
                     {HOST_UUID}"
                ))
            }
            (None, None) => Self::Own,
        }
    }
}

/// How a hypervisor is called by what it says who it is; nothing, or an empty text, where it says nothing.
pub fn called(identity: Option<&str>) -> String {
    identity
        .filter(|identity| !identity.is_empty())
        .map_or_else(|| "one that does not say who it is".to_owned(), |identity| format!("`{identity}`"))
}

/// What is to be done so that a hypervisor may become another host's than the one whose own it is.
pub fn free_it(owner: &str) -> String {
    format!(
        "where it shall be that of another host from now on, first let `{owner}` have another, or move or destroy its \
         machines and `millrace host remove {owner}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_and_the_recorded_one_are_taken_for_a_hosts_own() {
        let host: Name = "h1".parse().unwrap();
        let known = |identity: Option<&str>, other: Option<&str>| Known {
            identity: identity.map(Into::into),
            other: other.map(Into::into),
        };
        for (known, answers) in
            [(known(None, None), None), (known(None, None), Some("x")), (known(Some("x"), None), Some("x"))]
        {
            assert_eq!(Acquaintance::of(&host, &known, answers), Acquaintance::Own, "{known:?}");
        }
        for (known, answers, remedy) in [
            (known(Some("x"), None), Some("y"), "millrace host accept h1 --identity 'y'"),
            (known(Some("x"), None), None, "millrace host accept h1 --identity ''"),
            (known(None, Some("h2")), Some("x"), "millrace host remove h2"),
            (known(Some("x"), Some("h2")), Some("y"), "millrace host remove h2"),
        ] {
            let Acquaintance::Stranger(why) = Acquaintance::of(&host, &known, answers) else {
                panic!("{known:?}")
            };
            assert!(why.contains(remedy) && why.contains("`h1`"), "{why}");
        }
    }
}
