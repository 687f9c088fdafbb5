//! Functions on arrays that Rhai's packages leave unbounded: sorting, ordering, padding.
//!
//! Rhai sorts inside one operation, which can take hours over long texts, and with the standard
//! library's sort, which panics when a script's comparer contradicts itself. This merge sort
//! asks the guard at each comparison and accepts any comparer.

use std::cmp::Ordering;

use rhai::{Array, Dynamic, Engine, EvalAltResult, FnPtr, FuncRegistration, NativeCallContext};

use crate::guard;

type Outcome<T> = Result<T, Box<EvalAltResult>>;

/// Puts the functions of this file into the engine.
pub(crate) fn register(engine: &mut Engine) {
    engine.register_fn("sort", |items: &mut Array| sort_with(items, natural));
    engine.register_fn("sort_desc", |items: &mut Array| sort_with(items, |a, b| natural(b, a)));
    for name in ["sort", "sort_by"] {
        engine.register_fn(name, |context: NativeCallContext, items: &mut Array, comparer: FnPtr| {
            sort_with(items, |a, b| asked(&context, &comparer, a, b))
        });
    }
    FuncRegistration::new("order")
        .with_purity(true)
        .register_into_engine(engine, |items: &mut Array| ordered(items, natural));
    FuncRegistration::new("order_desc")
        .with_purity(true)
        .register_into_engine(engine, |items: &mut Array| ordered(items, |a, b| natural(b, a)));
    for name in ["order", "order_by"] {
        FuncRegistration::new(name).with_purity(true).register_into_engine(
            engine,
            |context: NativeCallContext, items: &mut Array, comparer: FnPtr| {
                ordered(items, |a, b| asked(&context, &comparer, a, b))
            },
        );
    }
    engine.register_fn("pad", pad);
}

fn pad(items: &mut Array, length: i64, item: Dynamic) -> Outcome<()> {
    let Ok(length) = usize::try_from(length) else { return Ok(()) };
    let missing = length.saturating_sub(items.len());
    guard::room(missing.saturating_mul(size_of::<Dynamic>()).saturating_mul(2)).map_err(guard::stop)?;
    for _ in 0..missing {
        // The item may be large itself: each copy is asked for.
        guard::tick().map_err(guard::stop)?;
        items.push(item.clone());
    }
    Ok(())
}

/// The order of values of one kind; different kinds have none.
fn natural(a: &Dynamic, b: &Dynamic) -> Outcome<Ordering> {
    if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
        return Ok(a.cmp(&b));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Ok(a.partial_cmp(&b).unwrap_or(Ordering::Equal));
    }
    if let (Ok(a), Ok(b)) = (a.as_immutable_string_ref(), b.as_immutable_string_ref()) {
        return Ok(a.as_str().cmp(b.as_str()));
    }
    if let (Ok(a), Ok(b)) = (a.as_char(), b.as_char()) {
        return Ok(a.cmp(&b));
    }
    if let (Ok(a), Ok(b)) = (a.as_bool(), b.as_bool()) {
        return Ok(a.cmp(&b));
    }
    if a.is_unit() && b.is_unit() {
        return Ok(Ordering::Equal);
    }
    Err(format!("`{}` and `{}` have no order: sort with a comparer", a.type_name(), b.type_name()).into())
}

#[allow(clippy::cast_precision_loss, reason = "an integer is compared with a float as a float")]
fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|integer| integer as f64))
}

/// The order by a function of the script: a number by its sign, or whether `a` comes first.
fn asked(context: &NativeCallContext, comparer: &FnPtr, a: &Dynamic, b: &Dynamic) -> Outcome<Ordering> {
    let answer: Dynamic = comparer.call_within_context(context, (a.clone(), b.clone()))?;
    if let Ok(sign) = answer.as_int() {
        return Ok(sign.cmp(&0));
    }
    match answer.as_bool() {
        Ok(true) => Ok(Ordering::Less),
        Ok(false) => Ok(Ordering::Greater),
        Err(kind) => Err(format!("a comparer returns a number or a boolean, not `{kind}`").into()),
    }
}

fn ordered(items: &Array, compare: impl FnMut(&Dynamic, &Dynamic) -> Outcome<Ordering>) -> Outcome<Array> {
    let mut copy = items.clone();
    sort_with(&mut copy, compare)?;
    Ok(copy)
}

/// Sorts stably; on an error the array is as it was.
fn sort_with(
    items: &mut Array,
    mut compare: impl FnMut(&Dynamic, &Dynamic) -> Outcome<Ordering>,
) -> Outcome<()> {
    guard::room(items.len() * (2 * size_of::<usize>() + size_of::<Dynamic>())).map_err(guard::stop)?;
    let mut from: Vec<usize> = (0..items.len()).collect();
    let mut into: Vec<usize> = Vec::with_capacity(items.len());
    let mut width = 1;
    while width < items.len() {
        into.clear();
        for run in from.chunks(2 * width) {
            let (mut left, mut right) = run.split_at(width.min(run.len()));
            while let ([a, rest_left @ ..], [b, rest_right @ ..]) = (left, right) {
                guard::tick().map_err(guard::stop)?;
                if compare(&items[*b], &items[*a])? == Ordering::Less {
                    into.push(*b);
                    right = rest_right;
                } else {
                    into.push(*a);
                    left = rest_left;
                }
            }
            into.extend_from_slice(left);
            into.extend_from_slice(right);
        }
        std::mem::swap(&mut from, &mut into);
        width *= 2;
    }
    let sorted = from.into_iter().map(|index| std::mem::take(&mut items[index])).collect();
    *items = sorted;
    Ok(())
}
