//! Says in our words why the executor refuses a document: with the remedy, which its own sentences lack.

/// How the executor's sentences begin, and the remedy of each.
const REMEDIES: [(&str, &str); 21] = [
    ("Unknown field", "ask for a field that the type has, as the schema lists them"),
    ("Unknown argument", "leave it out, or give one that the schema lists"),
    ("Unknown type", "name one that the schema lists"),
    ("Unknown fragment", "define it in the document, or take its spread out"),
    ("Unknown directive", "use `@include` or `@skip`, or take it out"),
    ("Unknown operation named", "give the name of an operation of the document"),
    ("Operation name required", "the document has several operations; say which one in `operationName`"),
    ("Cannot spread fragment", "take that spread out of the fragment"),
    ("Fragment `", "take it out, or spread it where its type may stand"),
    ("Fragment cannot", "take it out, or spread it where its type may stand"),
    ("Field `", "mend the selection or the arguments of this field"),
    ("Fields `", "use aliases"),
    ("Variable `", "declare each variable once, of the type that its place asks, and use it"),
    ("There can only be one", "leave the other out"),
    ("Directive", "move it or take it out"),
    ("Duplicate directive", "leave the other out"),
    ("Invalid value", "send a value of that type"),
    ("Invalid default", "declare a default of that type"),
    ("Failed to parse", "send a value as the schema describes it"),
    ("Expected input type", "send a value as the schema describes it"),
    ("The Upload type", "send what is to be kept as JSON"),
];

/// The remedy of a sentence that is not in the list.
const ANY: &str = "mend the document so that it fits the schema";

/// A sentence of the executor's with backticks about its names and the remedy after it.
pub(crate) fn reword(sentence: &str) -> String {
    let told = sentence.replace('"', "`");
    let told = told.trim_end_matches(['.', ' ']);
    // Where it knows what was probably meant it says so.
    if told.contains("Did you mean") {
        return told.to_owned();
    }
    let remedy =
        REMEDIES.iter().find(|(begins, _)| told.starts_with(begins)).map_or(ANY, |(_, remedy)| *remedy);
    format!("{told}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_has_its_remedy() {
        assert_eq!(
            reword("Cannot spread fragment \"a\" within itself via \"b\"."),
            "Cannot spread fragment `a` within itself via `b`; take that spread out of the fragment"
        );
        assert!(reword("Something new.").ends_with(ANY));
        assert_eq!(
            reword("Unknown field \"a\" on type \"B\". Did you mean \"c\"?"),
            "Unknown field `a` on type `B`. Did you mean `c`?"
        );
    }
}
