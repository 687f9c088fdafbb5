//! What holds for every request at the API's doors, whatever it asks for.

mod csrf;
mod documents;
mod errors;
mod idempotency;
mod limits;
mod over_http;
