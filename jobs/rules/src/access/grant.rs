//! From the grants of a role, which may hold wildcards, to the permissions that they come to.

use std::str::FromStr;

use super::{InTenant, Module, Permission, TenantRole};

/// The longest grant, in characters.
pub const MAX_GRANT_CHARS: usize = 100;

/// How `*` in a grant is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wildcard {
    /// `*` stands for exactly one segment, and `**` at the end for one or more.
    #[default]
    Segment,
    /// `*` accepts everything from its place on, whatever follows it in the grant: the rule of the product
    /// that is replaced, under which `tenant:*:list` is everything. For grants that were written for it.
    Legacy,
}

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions(u128);

/// Why a text is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadGrant {
    /// Its form is wrong.
    #[error("the grant `{0}` is not of the form `tenant:workflow:read`, with `*` in place of a segment")]
    Form(String),
    /// No permission fits it, so that it was probably mistyped.
    #[error("the grant `{0}` fits no permission; `permissions` lists them all")]
    Empty(String),
}

impl FromStr for Wildcard {
    type Err = super::Unknown;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "segment" => Ok(Self::Segment),
            "legacy" => Ok(Self::Legacy),
            _ => Err(super::Unknown(text.to_owned(), "way to read `*`; it is `segment` or `legacy`")),
        }
    }
}

/// Whether a grant fits a title.
pub fn fits(grant: &str, title: &str, wildcard: Wildcard) -> bool {
    let mut granted = grant.split(':');
    let mut wanted = title.split(':');
    loop {
        match (granted.next(), wanted.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) if wildcard == Wildcard::Legacy => return true,
            (Some("**"), Some(_)) if wildcard == Wildcard::Segment => return granted.next().is_none(),
            (Some("*"), Some(_)) if wildcard == Wildcard::Segment => {}
            (Some(a), Some(b)) if a == b => {}
            (Some(_), _) | (None, Some(_)) => return false,
        }
    }
}

/// Checks grants that are to be stored, and tells what they come to.
///
/// # Errors
/// The first that is malformed or fits nothing.
pub fn read<'a>(
    grants: impl IntoIterator<Item = &'a str>,
    wildcard: Wildcard,
) -> Result<Permissions, BadGrant> {
    let mut all = Permissions::NONE;
    for grant in grants {
        let odd = |c: char| !(c.is_ascii_lowercase() || c == '*');
        let malformed =
            grant.len() > MAX_GRANT_CHARS || grant.split(':').any(|s| s.is_empty() || s.contains(odd));
        if malformed {
            return Err(BadGrant::Form(grant.chars().take(MAX_GRANT_CHARS).collect()));
        }
        let found = Permissions::of([grant], wildcard);
        if found == Permissions::NONE {
            return Err(BadGrant::Empty(grant.to_owned()));
        }
        all = all.or(found);
    }
    Ok(all)
}

impl Permissions {
    /// None at all.
    pub const NONE: Self = Self(0);

    /// What grants come to. One that fits nothing, such as that of a permission which is no more, is none.
    pub fn of<'a>(grants: impl IntoIterator<Item = &'a str>, wildcard: Wildcard) -> Self {
        let mut all = Self::NONE;
        for grant in grants {
            all = all.or(Self::those(|p| fits(grant, p.title(), wildcard)));
        }
        all
    }

    /// One permission.
    pub const fn only(permission: Permission) -> Self {
        Self(bit(permission))
    }

    /// Every permission.
    pub fn all() -> Self {
        Self::those(|_| true)
    }

    /// What the built-in role `MEMBER` has: everything that is not deciding about others.
    pub fn member() -> Self {
        Self::those(|p| p.wish() != InTenant::Manage)
    }

    /// What a member or a key has: `ADMIN` everything, `MEMBER` what the roles grant that the tenant made, or
    /// the built-in set when there are none of these. Scopes narrow it.
    pub fn held(
        role: TenantRole,
        roles: Option<&[String]>,
        scopes: Option<&[String]>,
        wildcard: Wildcard,
    ) -> Self {
        let of = |grants: &[String]| Self::of(grants.iter().map(String::as_str), wildcard);
        let given = match (role, roles) {
            (TenantRole::Admin, _) => Self::all(),
            (TenantRole::Member, Some(grants)) => of(grants),
            (TenantRole::Member, None) => Self::member(),
        };
        scopes.map_or(given, |scopes| given.and(of(scopes)))
    }

    /// Those of some modules.
    pub fn of_modules(modules: &[Module]) -> Self {
        Self::those(|p| modules.contains(&p.module()))
    }

    fn those(chosen: impl Fn(Permission) -> bool) -> Self {
        Self(Permission::ALL.into_iter().filter(|p| chosen(*p)).fold(0, |set, p| set | bit(p)))
    }

    /// Whether it holds a permission.
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & bit(permission) != 0
    }

    /// Both together.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The first of its permissions that the other lacks, if any.
    pub fn beyond(self, other: Self) -> Option<Permission> {
        self.iter().find(|p| !other.has(*p))
    }

    /// Its permissions, in the order of the registry.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |p| self.has(*p))
    }
}

/// A permission's place in the set. The registry has fewer than 128, which the next line holds fast.
const fn bit(permission: Permission) -> u128 {
    1 << (permission as u32)
}
const _: () = assert!(Permission::ALL.len() <= 128);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_one_segment() {
        let fits = |grant, title| fits(grant, title, Wildcard::Segment);
        assert!(fits("tenant:workflow:read", "tenant:workflow:read"));
        assert!(fits("tenant:*:read", "tenant:workflow:read"));
        assert!(!fits("tenant:*:read", "tenant:workflow:delete"));
        assert!(!fits("tenant:*", "tenant:workflow:read"));
        assert!(fits("tenant:*", "tenant:read"));
        assert!(!fits("*", "tenant:read"));
        assert!(fits("tenant:**", "tenant:workflow:read"));
        assert!(fits("tenant:**", "tenant:read"));
        assert!(fits("**", "tenant:read"));
        assert!(!fits("tenant:**", "tenant"));
        assert!(!fits("tenant:**:read", "tenant:workflow:read"), "`**` stands at the end only");
        assert!(!fits("tenant:workflow", "tenant:workflow:read"));
        assert!(!fits("tenant:workflow:read:*", "tenant:workflow:read"));
    }

    #[test]
    fn the_legacy_star_accepts_everything_from_its_place() {
        let fits = |grant, title| fits(grant, title, Wildcard::Legacy);
        assert!(fits("tenant:*:read", "tenant:workflow:delete"), "the weakness that is kept on purpose");
        assert!(fits("tenant:*", "tenant:workflow:read"));
        assert!(fits("*", "tenant:workflow:read"));
        assert!(!fits("tenant:read:*", "tenant:read"), "a star beyond the end is one segment too many");
        assert!(!fits("tenant:**", "tenant:workflow:read"), "two stars were never a wildcard there");
        assert!(!fits("tenant:workflow", "tenant:workflow:read"));
        assert!(!fits("tenant:workflow:read", "tenant:workflow"));
        assert!(!fits("", "tenant"));
    }

    /// The loop of the product that is replaced, written out index by index.
    fn oracle(grant: &str, title: &str) -> bool {
        let (granted, wanted): (Vec<&str>, Vec<&str>) =
            (grant.split(':').collect(), title.split(':').collect());
        for i in 0..wanted.len() {
            if granted.get(i) == Some(&"*") {
                return true;
            }
            if granted.get(i) != wanted.get(i) {
                return false;
            }
        }
        granted.len() == wanted.len()
    }

    proptest! {
        #[test]
        fn legacy_is_the_old_loop(grant in "(a|b|\\*|:){0,8}", title in "(a|b|:){0,8}") {
            prop_assert_eq!(fits(&grant, &title, Wildcard::Legacy), oracle(&grant, &title));
        }

        #[test]
        fn a_segment_star_never_reaches_further_than_a_legacy_one(grant in "(a|b|\\*|:){0,8}", title in "(a|b|:){0,8}") {
            prop_assume!(!grant.contains("**"));
            prop_assert!(!fits(&grant, &title, Wildcard::Segment) || fits(&grant, &title, Wildcard::Legacy));
        }
    }

    #[test]
    fn grants_are_checked_before_they_are_kept() {
        let read = |grant| read([grant], Wildcard::Segment);
        assert_eq!(read("tenant:**"), Ok(Permissions::all()));
        assert_eq!(read("tenant:workflow:*").map(|p| p.iter().count()), Ok(8));
        for bad in ["", "tenant::read", "Tenant:read", "tenant:work flow:read"] {
            assert!(matches!(read(bad), Err(BadGrant::Form(_))), "{bad}");
        }
        for empty in ["tenant:workflw:read", "*", "other:**"] {
            assert!(matches!(read(empty), Err(BadGrant::Empty(_))), "{empty}");
        }
    }

    #[test]
    fn own_roles_take_the_place_of_the_built_in_one_and_scopes_narrow() {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let held = |role, roles: Option<&[&str]>, scopes: Option<&[&str]>| {
            let (roles, scopes) = (roles.map(texts), scopes.map(texts));
            Permissions::held(role, roles.as_deref(), scopes.as_deref(), Wildcard::Segment)
        };
        assert_eq!(held(TenantRole::Member, None, None), Permissions::member());
        assert_eq!(
            held(TenantRole::Member, Some(&[]), None),
            Permissions::NONE,
            "a role that grants nothing"
        );
        assert_eq!(held(TenantRole::Admin, Some(&[]), None), Permissions::all());
        let read = Permissions::of(["tenant:*:read"], Wildcard::Segment);
        assert_eq!(held(TenantRole::Member, Some(&["tenant:*:read"]), None), read);
        assert_eq!(held(TenantRole::Admin, None, Some(&["tenant:*:read"])), read);
        assert_eq!(
            held(TenantRole::Member, Some(&["tenant:*:list"]), Some(&["tenant:*:read"])),
            Permissions::NONE
        );
    }

    #[test]
    fn sets_are_sets() {
        let (member, all) = (Permissions::member(), Permissions::all());
        assert_eq!(member.beyond(all), None);
        assert!(all.beyond(member).is_some());
        assert_eq!(member.and(all), member);
        assert_eq!(all.iter().count(), Permission::ALL.len());
        assert!(!member.has(Permission::ApiKeyCreate) && member.has(Permission::WorkflowExecute));
        assert_eq!(Permissions::of_modules(&Module::ALL), all);
    }
}
