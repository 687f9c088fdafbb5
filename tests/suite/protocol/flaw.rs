//! Deliberate flaws, each of which the search must find.

use super::law::Law;
use super::scope::{ONE, REDRIVEN, Scope, THREE, TWO};

/// What is done wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// An acknowledgement needs a lease of the job, but not the token.
    TokenUnchecked,
    /// An acknowledgement needs no lease at all.
    LeaseUnchecked,
    /// A renewal asks for the job alone.
    RenewalUnchecked,
    /// What is taken back is leased again under the same token.
    TokenKept,
    /// Tokens are counted: a crash of the server that undoes a claim undoes the count too.
    TokenCounted,
    /// What falls due becomes ready without a look at its key.
    PromotionIgnoresKey,
    /// A redriven job goes before those that wait under its key.
    RedriveIgnoresKey,
    /// The next of a key is looked for before the key is locked.
    LookBeforeLock,
    /// The next of a key is the oldest job and not the first that stood in line.
    OldestIsNext,
    /// What ends does not pass its key on.
    KeyKept,
    /// A retry goes on with what was to be cancelled.
    RetryForgetsCancel,
    /// A rescue goes on with what was to be cancelled.
    RescueForgetsCancel,
    /// A rescue does not ask whether the lease has run out.
    RescueTooSoon,
    /// A rescue leaves jobs alone that have a key.
    RescueIgnoresKeyed,
    /// A crash is not counted.
    CrashUncounted,
    /// A cancellation that finds the job running lets its lease be.
    CancelEndsRunning,
}

impl Flaw {
    /// All of them, each with the law that it breaks and where.
    pub(crate) const ALL: [(Self, Law, Scope); 16] = [
        (Self::TokenUnchecked, Law::Fence, ONE),
        (Self::LeaseUnchecked, Law::Fence, ONE),
        (Self::RenewalUnchecked, Law::Fence, ONE),
        (Self::TokenKept, Law::OneLease, ONE),
        (Self::TokenCounted, Law::OneLease, ONE),
        (Self::PromotionIgnoresKey, Law::Turn, THREE),
        (Self::RedriveIgnoresKey, Law::Turn, REDRIVEN),
        (Self::LookBeforeLock, Law::Turn, THREE),
        (Self::OldestIsNext, Law::Turn, THREE),
        (Self::KeyKept, Law::Ends, TWO),
        (Self::RetryForgetsCancel, Law::Cancelled, ONE),
        (Self::RescueForgetsCancel, Law::Cancelled, ONE),
        (Self::RescueTooSoon, Law::OwnTime, ONE),
        (Self::RescueIgnoresKeyed, Law::Ends, TWO),
        (Self::CrashUncounted, Law::Poison, ONE),
        (Self::CancelEndsRunning, Law::OnePlace, ONE),
    ];

    /// Whether a token can mean a second attempt.
    pub(crate) fn keeps_tokens(self) -> bool {
        matches!(self, Self::TokenKept | Self::TokenCounted)
    }
}
