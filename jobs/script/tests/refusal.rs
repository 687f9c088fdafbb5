//! An executable that does not count memory cannot run scripts. This one does not.

use script::{Limits, Sandbox, ScriptError};

#[test]
fn scripts_are_refused_where_memory_is_not_counted() {
    assert!(!script::alloc::installed());
    let sandbox = Sandbox::new(Limits::default());
    assert_eq!(sandbox.run("1", &[]), Err(ScriptError::NotAccounted));
    assert_eq!(sandbox.eval_bool("true", &[]), Err(ScriptError::NotAccounted));
    assert_eq!(sandbox.check("1"), Ok(()), "compiling needs no account");
}
