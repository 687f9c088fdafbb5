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

impl Acquaintance {
    /// Decides by what is recorded and by what the hypervisor says; one that keeps no machines says nothing.
    pub fn of(host: &Name, known: &Known, answers: Option<&str>) -> Self {
        let remedy = format!(
            "start its worker with the address of its own hypervisor; or, where this one is to be its own from now \
             on, `millrace host accept {host}`"
        );
        match (&known.identity, &known.other) {
            (Some(recorded), _) if answers == Some(recorded) => Self::Own,
            (Some(recorded), _) => {
                let who = answers
                    .map_or_else(|| "one that does not say who it is".to_owned(), |a| format!("`{a}`"));
                Self::Stranger(format!(
                    "what answers is another hypervisor ({who}) than the one that host `{host}` is recorded with \
                     (`{recorded}`): nothing is done there; {remedy}"
                ))
            }
            (None, Some(other)) => Self::Stranger(format!(
                "what answers is the hypervisor of host `{other}`: nothing is done there for host `{host}`; {remedy}"
            )),
            (None, None) => Self::Own,
        }
    }
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
        for (known, answers) in [
            (known(None, None), None),
            (known(None, None), Some("x")),
            (known(Some("x"), None), Some("x")),
            // Somebody accepted that both are the same.
            (known(Some("x"), Some("h2")), Some("x")),
        ] {
            assert_eq!(Acquaintance::of(&host, &known, answers), Acquaintance::Own, "{known:?}");
        }
        for (known, answers) in [
            (known(Some("x"), None), Some("y")),
            (known(Some("x"), None), None),
            (known(None, Some("h2")), Some("x")),
        ] {
            let Acquaintance::Stranger(why) = Acquaintance::of(&host, &known, answers) else {
                panic!("{known:?}")
            };
            assert!(why.contains("millrace host accept h1"), "{why}");
        }
    }
}
