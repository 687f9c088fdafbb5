//! What is wrong with a draft, and where.

/// One fault of a draft.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", self.place())]
pub struct Fault {
    /// The node it concerns, by id.
    pub node: Option<String>,
    /// The edge it concerns, by id, or by its place in the list, such as `#3`, when it has none.
    pub edge: Option<String>,
    /// The field inside, such as `config.code`; empty when it concerns the whole.
    pub field: String,
    /// Which kind of fault it is.
    pub reason: Reason,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// The closed set of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A value of the wrong form or out of its range.
    Malformed,
    /// A field that must be there is not.
    Missing,
    /// A field, handle or kind that does not exist.
    Unknown,
    /// An id that another has.
    Duplicate,
    /// An edge to or from a node that is not there.
    Dangling,
    /// Nodes that lead back to themselves.
    Cycle,
    /// A node that no path from the start reaches.
    Unreachable,
    /// No start node, or more than one, or one that is led into.
    Start,
    /// A template that cannot be read or leads to nothing.
    Template,
    /// A script or an expression that does not compile.
    Script,
    /// A JSON Schema that is none.
    Schema,
    /// More than a limit allows.
    TooLarge,
}

impl Reason {
    /// The stable code for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "MALFORMED",
            Self::Missing => "MISSING",
            Self::Unknown => "UNKNOWN",
            Self::Duplicate => "DUPLICATE",
            Self::Dangling => "DANGLING_EDGE",
            Self::Cycle => "CYCLE",
            Self::Unreachable => "UNREACHABLE",
            Self::Start => "START",
            Self::Template => "TEMPLATE",
            Self::Script => "SCRIPT",
            Self::Schema => "SCHEMA",
            Self::TooLarge => "TOO_LARGE",
        }
    }
}

impl Fault {
    /// A fault of the whole draft.
    pub(super) fn whole(field: &str, reason: Reason, message: impl Into<String>) -> Self {
        Self { node: None, edge: None, field: field.into(), reason, message: message.into() }
    }

    /// A fault of a node.
    pub(super) fn node(id: &str, field: &str, reason: Reason, message: impl Into<String>) -> Self {
        Self { node: Some(id.into()), ..Self::whole(field, reason, message) }
    }

    /// A fault of an edge.
    pub(super) fn edge(id: &str, field: &str, reason: Reason, message: impl Into<String>) -> Self {
        Self { edge: Some(id.into()), ..Self::whole(field, reason, message) }
    }

    fn place(&self) -> String {
        let whose = match (&self.node, &self.edge) {
            (Some(node), _) => format!("node `{node}`"),
            (None, Some(edge)) => format!("edge `{edge}`"),
            (None, None) => "workflow".into(),
        };
        if self.field.is_empty() { whose } else { format!("{whose}, `{}`", self.field) }
    }
}
