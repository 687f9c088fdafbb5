//! What a listener may be told and what it does about it, decided purely.
//!
//! `path` is where it listens, `notice` what it may hear, `pipeline` what follows.

mod notice;
mod path;
mod pipeline;
mod read;
mod retention;

pub use notice::{
    BadNotice, HEADER_CHARS_MAX, HEADERS_KEPT, NOTICE_BYTES_MAX, NOTICE_DEPTH_MAX, TooLarge, check,
    check_size, headers,
};
pub use path::{BadPath, PATH_CHARS_MAX, Path};
pub use pipeline::{ACTIONS_MAX, Act, Action, Outside, Pipeline, TEMPLATE_ROOTS};
pub use read::Fault;
pub use retention::{BUFFER_EVENTS_MAX, BUFFER_HOURS_MAX, BUFFER_NAME_CHARS_MAX, BufferName, Retention};
