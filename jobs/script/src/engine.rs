//! Builds the interpreter: chosen packages, bounded replacements, nothing of the world reachable.

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{Dynamic, Engine, OptimizationLevel};

use crate::limits::{CALL_LEVELS, EXPRESSION_DEPTH, FUNCTIONS, Limits, VARIABLES};
use crate::{guard, json, sequence, text};

/// Words that a script may not use. `eval` and `import` would bring code that was not compiled
/// when the script was saved; `print` and `debug` would write into our log; a value reached through
/// `this` could be copied without being asked for.
const REFUSED: [&str; 6] = ["eval", "import", "export", "print", "debug", "this"];

/// The interpreter, good for any number of scripts on any number of threads.
pub(crate) fn build(limits: &Limits) -> Engine {
    let mut engine = Engine::new_raw();
    // Left out on purpose: the core package (`sleep`, an unbounded `parse_json`), time (a script's
    // result depends on nothing but its variables), blobs (no JSON form) and bit fields.
    ArithmeticPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicFnPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    // Registered with the engine itself, these come before the packages' functions of the same name.
    text::register(&mut engine);
    sequence::register(&mut engine);
    json::register(&mut engine, limits);
    engine.register_global_module(text::iteration().into());

    for word in REFUSED {
        engine.disable_symbol(word);
    }
    // Rhai's limits of data size walk the whole value at each change, which makes a loop that
    // builds a list quadratic; the guard bounds memory instead.
    engine
        .set_optimization_level(OptimizationLevel::None)
        // The fast operators would bypass ours, which bound the sum of two texts.
        .set_fast_operators(false)
        .set_max_call_levels(CALL_LEVELS)
        .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
        .set_max_variables(VARIABLES)
        .set_max_functions(FUNCTIONS)
        // A slip of the pen must not end as null in a result, or as an event that is dropped in silence.
        .set_fail_on_invalid_map_property(true)
        // Interned texts outlive a script, and lookups take a lock that all threads share.
        .set_max_strings_interned(0)
        .on_progress(|_| guard::tick().err().map(|_| Dynamic::UNIT));
    engine
}
