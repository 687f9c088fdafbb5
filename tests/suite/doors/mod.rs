//! What holds for every request at the API's doors, whatever it asks for.

mod errors;
mod idempotency;
mod limits;
