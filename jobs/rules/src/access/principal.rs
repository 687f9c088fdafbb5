//! Who asks: a person who logged in, or a program with a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Permissions;
use crate::id::{ApiKeyId, TenantId, UserId};

/// What a user may do to the installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Nothing; works in the tenants that it is a member of.
    User,
    /// Operates queues, makes tenants and ordinary users.
    Admin,
    /// Everything, in every tenant.
    SuperAdmin,
}

/// What somebody may do in one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TenantRole {
    /// Builds and runs workflows and listeners.
    Member,
    /// And decides who else may.
    Admin,
}

/// A role's name that is none of the closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role")]
pub struct UnknownRole(pub String);

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Self; 3] = [Self::User, Self::Admin, Self::SuperAdmin];

    /// The name in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Admin => "ADMIN",
            Self::SuperAdmin => "SUPER_ADMIN",
        }
    }
}

impl TenantRole {
    /// Every role, the weakest first.
    pub const ALL: [Self; 2] = [Self::Member, Self::Admin];

    /// The name in tables and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "MEMBER",
            Self::Admin => "ADMIN",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|r| r.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

impl FromStr for TenantRole {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|r| r.as_str() == text).ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// Somebody whose credentials were verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// A person.
    User {
        /// Who.
        id: UserId,
        /// What they may do to the installation.
        role: Role,
    },
    /// A program.
    Key {
        /// Which key it holds.
        id: ApiKeyId,
        /// The only tenant that the key opens.
        tenant: TenantId,
        /// Its role there.
        role: TenantRole,
        /// What its role, its roles and its scopes come to.
        may: Permissions,
    },
}

/// As written beside what the principal did: `user:<id>` or `key:<id>`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { id, .. } => write!(f, "user:{id}"),
            Self::Key { id, .. } => write!(f, "key:{id}"),
        }
    }
}
