//! Refuses a document by its text alone, before the parser sees it.

use crate::error::Fault;

/// Braces, brackets and parentheses of a document within each other.
const MAX_NESTING: usize = 64;

/// Refuses a document of too many words and signs, before the parser sees it.
///
/// # Errors
/// [`Fault::TooComplex`] with both numbers.
pub(crate) fn check_tokens(query: &str, most: usize) -> Result<(), Fault> {
    let tokens = count_tokens(query);
    if tokens <= most {
        return Ok(());
    }
    Err(Fault::TooComplex(format!("the document has more than {most} words and signs; send less at once")))
}

/// Words, numbers and signs. What stands in strings and comments is counted too: refusing a little more
/// than need be costs nobody anything.
fn count_tokens(query: &str) -> usize {
    let mut in_word = false;
    let mut tokens = 0;
    for c in query.chars() {
        let word = c.is_alphanumeric() || c == '_';
        if (word && !in_word) || (!word && !c.is_whitespace() && c != ',') {
            tokens += 1;
        }
        in_word = word;
    }
    tokens
}

/// Refuses a document whose braces and brackets stand in each other too deep, before the parser sees it:
/// it goes down one frame of its stack for each, and a stack that overflows ends the process. Those in
/// strings and comments count too.
///
/// # Errors
/// [`Fault::TooDeep`] with the limit.
pub(crate) fn check_nesting(query: &str) -> Result<(), Fault> {
    let mut open = 0usize;
    for sign in query.bytes() {
        match sign {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            _ => continue,
        }
        if open > MAX_NESTING {
            let told =
                format!("the document nests more than {MAX_NESTING} levels; send deep values as variables");
            return Err(Fault::TooDeep(told));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_signs_are_counted() {
        assert_eq!(count_tokens("{ me { id, email } }"), 7);
        assert!(check_tokens(&"{a}".repeat(10), 29).is_err());
        assert!(check_tokens(&"{a}".repeat(10), 30).is_ok());
    }

    #[test]
    fn what_nests_too_deep_is_refused_before_it_is_parsed() {
        let nested =
            |levels: usize| format!("{{a(x: {}1{}) {{b}}}}", "{y:".repeat(levels), "}".repeat(levels));
        // The selection and the parenthesis are two levels of their own.
        assert!(check_nesting(&nested(MAX_NESTING - 2)).is_ok());
        assert!(check_nesting(&nested(MAX_NESTING - 1)).is_err());
        assert!(check_nesting(&"[".repeat(100_000)).is_err());
        assert!(check_nesting(&"{a}".repeat(10_000)).is_ok());
    }
}
