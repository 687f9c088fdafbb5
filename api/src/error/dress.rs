//! Errors as GraphQL tells them: with their code, their id, and what a program needs to mend them.

use async_graphql::{ErrorExtensionValues, ServerError};
use jobs::Error;

use super::code::ErrorCode;
use super::fault::{Fault, told};
use super::record::{cause_of, record};
use crate::graphql::reword;

impl Fault {
    /// This fault as the single error of a GraphQL answer without data.
    pub(crate) fn into_server_error(self) -> ServerError {
        let error: async_graphql::Error = self.into();
        let mut error = error.into_server_error(async_graphql::Pos::default());
        error.locations.clear();
        dress(error)
    }
}

/// The code that an error of the executor is told under.
pub(crate) fn code_of(error: &ServerError) -> &'static str {
    known_code(error).unwrap_or(unsourced(error)).as_str()
}

fn known_code(error: &ServerError) -> Option<ErrorCode> {
    let fault = error.source::<Fault>().map(Fault::code);
    fault.or_else(|| error.source::<Error>().map(|house| ErrorCode::of_house(house.code)))
}

/// Without a source it is the executor that speaks: with a path of an argument's value, else of the document.
fn unsourced(error: &ServerError) -> ErrorCode {
    if error.path.is_empty() { ErrorCode::ValidationFailed } else { ErrorCode::BadUserInput }
}

/// Gives an error of the executor its code and its id, and records it.
pub(crate) fn dress(mut error: ServerError) -> ServerError {
    let mut extensions = ErrorExtensionValues::default();
    let (code, cause) = if let Some(fault) = error.source::<Fault>() {
        describe(fault, &mut extensions);
        (fault.code(), fault.cause())
    } else if let Some(house) = error.source::<Error>() {
        let found = (ErrorCode::of_house(house.code), cause_of(house));
        error.message = told(house);
        found
    } else {
        let code = unsourced(&error);
        error.message = reword(&error.message);
        (code, String::new())
    };
    let id = record(code, &error.message, &cause);
    extensions.set("code", code.as_str());
    extensions.set("errorId", id.to_string());
    error.extensions = Some(extensions);
    error
}

fn describe(fault: &Fault, extensions: &mut ErrorExtensionValues) {
    if let Fault::RateLimited(_, after_s) | Fault::KeyBusy(after_s) = fault {
        extensions.set("retryAfterS", *after_s);
    }
    if let Fault::BadInputs(_, faults) = fault {
        let faults = faults.iter().map(|f| {
            let entry = [
                ("node", text_or_null(f.node.as_deref())),
                ("edge", text_or_null(f.edge.as_deref())),
                ("reason", text_or_null(f.reason)),
                ("field", f.field.clone().into()),
                ("message", f.message.clone().into()),
            ];
            async_graphql::Value::Object(
                entry.into_iter().map(|(k, v)| (async_graphql::Name::new(k), v)).collect(),
            )
        });
        extensions.set("faults", async_graphql::Value::List(faults.collect()));
    }
}

fn text_or_null(text: Option<&str>) -> async_graphql::Value {
    text.map_or(async_graphql::Value::Null, Into::into)
}

#[cfg(test)]
mod tests {
    use jobs::Listing;
    use rules::access::Denied;

    use super::super::InputFault;
    use super::*;

    fn dressed(fault: impl Into<async_graphql::Error>) -> serde_json::Value {
        let error = fault.into().into_server_error(async_graphql::Pos::default());
        serde_json::to_value(dress(error)).unwrap()
    }

    #[test]
    fn an_internal_cause_stays_inside() {
        let told = dressed(Fault::from(Error::internal("password of the database is hunter2")));
        assert_eq!(told["extensions"]["code"], "INTERNAL");
        assert!(!told.to_string().contains("hunter2"), "{told}");
        assert_eq!(told["extensions"]["errorId"].as_str().map(str::len), Some(36));
        // An error that passes a resolver without a Fault around it is dressed the same.
        let told = dressed(Error::internal("hunter2"));
        assert_eq!(told["extensions"]["code"], "INTERNAL");
        assert!(!told.to_string().contains("hunter2"), "{told}");
    }

    #[test]
    fn what_is_not_there_is_told_with_the_query_that_lists_what_is() {
        for error in Listing::ALL.map(|listing| Error::not_found("there is none").listed_in(listing)) {
            let told = dressed(Fault::from(error))["message"].as_str().unwrap().to_owned();
            assert!(told.starts_with("there is none; ") && !told.contains("millrace"), "{told}");
        }
        let bare = dressed(Error::not_found("there is no job 1").listed_in(Listing::Jobs));
        assert_eq!(bare["message"], "there is no job 1; `jobs` lists those there are");
    }

    #[test]
    fn every_fault_at_its_place() {
        let faults = vec![InputFault {
            node: Some("a".into()),
            edge: None,
            field: "code".into(),
            reason: Some("SCRIPT"),
            message: "no".into(),
        }];
        let told = dressed(Fault::BadInputs("the workflow has 1 fault".into(), faults));
        assert_eq!(told["extensions"]["code"], "BAD_USER_INPUT");
        assert_eq!(told["extensions"]["faults"][0]["node"], "a");
        assert_eq!(dressed(Fault::RateLimited("attempts", 7))["extensions"]["retryAfterS"], 7);
    }

    #[test]
    fn a_stranger_reads_not_found() {
        assert_eq!(dressed(Fault::Denied(Denied::Stranger))["extensions"]["code"], "NOT_FOUND");
        assert_eq!(dressed(Fault::Denied(Denied::Anonymous))["extensions"]["code"], "UNAUTHENTICATED");
        assert_eq!(dressed(Fault::Denied(Denied::KeyConfined))["extensions"]["code"], "FORBIDDEN");
    }
}
