//! The W3C trace context: one trace from the first request to the last job it caused.

use std::fmt;

/// A `traceparent`: which trace this belongs to, and which step of it was the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    sampled: bool,
}

/// Characters of a `traceparent`: version, trace, parent and flags, with dashes between.
const CHARS: usize = 55;

impl TraceContext {
    /// Begins a trace.
    pub fn begin() -> Self {
        Self::generate(rand::random())
    }

    /// Begins a trace from random bytes.
    pub fn generate(random: [u8; 24]) -> Self {
        let (mut trace_id, mut parent_id) = ([0; 16], [0; 8]);
        trace_id.copy_from_slice(&random[..16]);
        parent_id.copy_from_slice(&random[16..]);
        // An id of zeros means "none" in the standard.
        trace_id[15] |= u8::from(trace_id == [0; 16]);
        Self { trace_id, parent_id: nonzero(parent_id), sampled: true }
    }

    /// Reads a `traceparent` strictly: version 00, lowercase, neither id zero. Anything else is treated
    /// as absent, as the standard asks, so that a bad header never fails a request.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != CHARS
            || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-')
        {
            return None;
        }
        let mut parts = text.split('-');
        let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || version != "00" {
            return None;
        }
        let (mut trace_id, mut parent_id, mut flag_bits) = ([0; 16], [0; 8], [0; 1]);
        hex::decode_to_slice(trace, &mut trace_id).ok()?;
        hex::decode_to_slice(parent, &mut parent_id).ok()?;
        hex::decode_to_slice(flags, &mut flag_bits).ok()?;
        if trace_id == [0; 16] || parent_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id, parent_id, sampled: flag_bits[0] & 1 == 1 })
    }

    /// The context that a step of this trace hands on, from random bytes.
    #[must_use]
    pub fn child(&self, random: [u8; 8]) -> Self {
        Self { parent_id: nonzero(random), ..*self }
    }

    /// The trace's id in hexadecimal: the field `trace.id` of the logs.
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled);
        write!(f, "00-{}-{}-{flags:02x}", hex::encode(self.trace_id), hex::encode(self.parent_id))
    }
}

fn nonzero(mut id: [u8; 8]) -> [u8; 8] {
    id[7] |= u8::from(id == [0; 8]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_reads_back() {
        let context = TraceContext::parse(GIVEN).unwrap();
        assert_eq!(context.to_string(), GIVEN);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let made = TraceContext::generate(std::array::from_fn(|i| i as u8));
        assert_eq!(TraceContext::parse(&made.to_string()), Some(made));
        assert_eq!(made.to_string().len(), CHARS);
    }

    #[test]
    fn a_child_stays_in_the_trace() {
        let parent = TraceContext::parse(GIVEN).unwrap();
        let child = parent.child([7; 8]);
        assert_eq!(child.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01");
        let unsampled = TraceContext::parse(&GIVEN.replace("-01", "-00")).unwrap();
        assert!(unsampled.child([7; 8]).to_string().ends_with("-00"));
    }

    #[test]
    fn ids_are_never_zero() {
        let made = TraceContext::generate([0; 24]);
        assert_eq!(TraceContext::parse(&made.to_string()), Some(made));
        assert!(TraceContext::parse(&made.child([0; 8]).to_string()).is_some());
    }

    #[test]
    fn anything_unclear_is_absent() {
        for text in [
            "",
            "00",
            &GIVEN[..54],
            &format!("{GIVEN}0"),
            &format!("{GIVEN}-what-the-future-adds"),
            &GIVEN.to_uppercase(),
            &GIVEN.replacen("00", "01", 1),
            &GIVEN.replacen("00", "ff", 1),
            &GIVEN.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e47é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
