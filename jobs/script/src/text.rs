//! Functions on texts that can multiply size or work: each asks the guard before it makes anything.
//!
//! They carry the names and meanings of Rhai's own, which they replace.

use std::any::TypeId;
use std::str::FromStr;

use rhai::{Array, Dynamic, Engine, EvalAltResult, ImmutableString, Module, NativeCallContext};

use crate::guard;

type Outcome<T> = Result<T, Box<EvalAltResult>>;
type Text = ImmutableString;

/// What one more part of a split text costs, in bytes: its place in the array and its own block.
const PART_BYTES: usize = 3 * size_of::<Dynamic>() + 64;
/// Bytes per byte that a change of case can need at most while it grows.
const CASE_FACTOR: usize = 6;

/// How much of a text an error names, in characters.
const NAMED_CHARS: usize = 40;

/// Puts the functions of this file into the engine.
pub(crate) fn register(engine: &mut Engine) {
    register_sum(engine);
    register_replace(engine);
    register_split(engine);
    register_cut(engine);
    engine
        .register_fn("pad", |text: &mut Text, length: i64, with: char| {
            pad(text, length, with.encode_utf8(&mut [0; 4]))
        })
        .register_fn("pad", |text: &mut Text, length: i64, with: Text| pad(text, length, &with))
        .register_fn("pop", |text: &mut Text, length: i64| pop(text, length))
        .register_fn("parse_int", |text: Text| number(&text, "whole ", i64::from_str))
        .register_fn("parse_int", |text: Text, radix: i64| in_radix(&text, radix))
        .register_fn("parse_float", |text: Text| number(&text, "", f64::from_str))
        .register_fn("to_upper", |text: Text| upper(&text))
        .register_fn("to_lower", |text: Text| lower(&text))
        .register_fn("make_upper", |text: &mut Text| change(text, upper))
        .register_fn("make_lower", |text: &mut Text| change(text, lower))
        .register_fn("index_of", |text: Text, what: char, start: i64| {
            index_of(&text, what.encode_utf8(&mut [0; 4]), start)
        })
        .register_fn("index_of", |text: Text, what: Text, start: i64| index_of(&text, &what, start));
}

/// The module that lets a script iterate over a text without a copy of it four times as large.
pub(crate) fn iteration() -> Module {
    let mut module = Module::new();
    module.set_iter(TypeId::of::<Text>(), |value| {
        Box::new(
            Characters { text: value.into_immutable_string().unwrap_or_default(), at: 0 }.map(Dynamic::from),
        )
    });
    module
}

struct Characters {
    text: Text,
    at: usize,
}

impl Iterator for Characters {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let next = self.text.get(self.at..)?.chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }
}

fn room(bytes: usize) -> Outcome<()> {
    guard::room(bytes).map_err(guard::stop)
}

/// As [`room`], for a text of so many bytes: once while it is made, once as the interpreter keeps it.
fn text_room(bytes: usize) -> Outcome<()> {
    guard::text(bytes).map_err(guard::stop)?;
    room(bytes.saturating_mul(2))
}

fn change(text: &mut Text, how: fn(&str) -> Outcome<Text>) -> Outcome<()> {
    *text = how(text)?;
    Ok(())
}

fn upper(text: &str) -> Outcome<Text> {
    room(text.len().saturating_mul(CASE_FACTOR))?;
    let upper = text.to_uppercase();
    text_room(upper.len())?;
    Ok(upper.into())
}

fn lower(text: &str) -> Outcome<Text> {
    room(text.len().saturating_mul(CASE_FACTOR))?;
    let lower = text.to_lowercase();
    text_room(lower.len())?;
    Ok(lower.into())
}

fn register_sum(engine: &mut Engine) {
    let letter = |c: char| Text::from(c.to_string());
    engine
        .register_fn("+", |a: Text, b: Text| sum(&a, &b))
        .register_fn("+", move |a: Text, b: char| sum(&a, &letter(b)))
        .register_fn("+", move |a: char, b: Text| sum(&letter(a), &b))
        .register_fn("+", |context: NativeCallContext, a: Text, b: Dynamic| sum(&a, &shown(&context, b)?))
        .register_fn("+", |context: NativeCallContext, a: Dynamic, b: Text| sum(&shown(&context, a)?, &b));
    for name in ["+=", "append"] {
        engine
            .register_fn(name, |a: &mut Text, b: Text| add(a, &b))
            .register_fn(name, move |a: &mut Text, b: char| add(a, &letter(b)))
            .register_fn(name, |context: NativeCallContext, a: &mut Text, b: Dynamic| {
                add(a, &shown(&context, b)?)
            });
    }
}

/// What a value looks like at the end of a text; nothing for `()`.
fn shown(context: &NativeCallContext, value: Dynamic) -> Outcome<Text> {
    context.call_native_fn("to_string", (value,))
}

fn sum(a: &str, b: &str) -> Outcome<Text> {
    let length = a.len().saturating_add(b.len());
    text_room(length)?;
    let mut sum = String::with_capacity(length);
    sum.push_str(a);
    sum.push_str(b);
    Ok(sum.into())
}

/// Grows a text in place where nothing else shares it, so that a loop which builds one is linear.
fn add(text: &mut Text, more: &str) -> Outcome<()> {
    text_room(text.len().saturating_add(more.len()))?;
    // The buffer may be copied, because it is shared, and then doubled.
    room(text.len().saturating_add(more.len()).saturating_mul(3))?;
    text.make_mut().push_str(more);
    Ok(())
}

fn register_replace(engine: &mut Engine) {
    engine
        .register_fn("replace", |text: &mut Text, what: Text, with: Text| replace(text, &what, &with))
        .register_fn("replace", |text: &mut Text, what: Text, with: char| {
            replace(text, &what, with.encode_utf8(&mut [0; 4]))
        })
        .register_fn("replace", |text: &mut Text, what: char, with: Text| {
            replace(text, what.encode_utf8(&mut [0; 4]), &with)
        })
        .register_fn("replace", |text: &mut Text, what: char, with: char| {
            replace(text, what.encode_utf8(&mut [0; 4]), with.encode_utf8(&mut [0; 4]))
        });
}

fn replace(text: &mut Text, what: &str, with: &str) -> Outcome<()> {
    let places = text.matches(what).count();
    let grown = text.len().saturating_add(places.saturating_mul(with.len()));
    text_room(grown)?;
    // A growing text doubles its buffer.
    room(grown.saturating_mul(2))?;
    *text = text.replace(what, with).into();
    Ok(())
}

fn pad(text: &mut Text, length: i64, with: &str) -> Outcome<()> {
    let Ok(length) = usize::try_from(length) else { return Ok(()) };
    let missing = length.saturating_sub(text.chars().count());
    if missing == 0 || with.is_empty() {
        return Ok(());
    }
    let grown = missing.saturating_mul(4).saturating_add(text.len());
    text_room(grown)?;
    room(grown.saturating_mul(2))?;
    let mut padded = String::from(text.as_str());
    padded.extend(with.chars().cycle().take(missing));
    *text = padded.into();
    Ok(())
}

/// Takes the last characters off, at most `length` of them.
fn pop(text: &mut Text, length: i64) -> Outcome<Text> {
    if length <= 0 {
        return Ok(Text::new());
    }
    let at = byte_at(text, length.saturating_neg());
    let taken = cut(text, length.saturating_neg(), i64::MAX)?;
    text_room(at)?;
    *text = text[..at].into();
    Ok(taken)
}

fn in_radix(text: &str, radix: i64) -> Outcome<i64> {
    match u32::try_from(radix) {
        Ok(radix @ 2..=36) => {
            i64::from_str_radix(text.trim(), radix).map_err(|_| no_number(text, &format!("base-{radix} ")))
        }
        _ => Err(format!("a radix lies between 2 and 36, and {radix} does not").into()),
    }
}

/// A number out of a text, whose error names no more of the text than can be read.
fn number<T, E>(text: &str, kind: &str, parse: fn(&str) -> Result<T, E>) -> Outcome<T> {
    parse(text.trim()).map_err(|_| no_number(text, kind))
}

fn no_number(text: &str, kind: &str) -> Box<EvalAltResult> {
    let start: String = text.chars().take(NAMED_CHARS).collect();
    format!("`{start}` is no {kind}number").into()
}

fn register_split(engine: &mut Engine) {
    engine
        .register_fn("to_chars", |text: Text| {
            room(text.chars().count().saturating_mul(2 * size_of::<Dynamic>()))?;
            Ok::<Array, Box<EvalAltResult>>(text.chars().map(Dynamic::from).collect())
        })
        .register_fn("split", |text: Text| collect(text.split_whitespace()))
        .register_fn("split", |text: Text, by: Text| collect(text.split(by.as_str())))
        .register_fn("split", |text: Text, by: char| collect(text.split(by)))
        .register_fn("split", |text: Text, by: Text, most: i64| {
            collect(text.splitn(parts(most), by.as_str()))
        })
        .register_fn("split", |text: Text, by: char, most: i64| collect(text.splitn(parts(most), by)))
        .register_fn("split_rev", |text: Text, by: Text| collect(text.rsplit(by.as_str())))
        .register_fn("split_rev", |text: Text, by: char| collect(text.rsplit(by)))
        .register_fn("split_rev", |text: Text, by: Text, most: i64| {
            collect(text.rsplitn(parts(most), by.as_str()))
        })
        .register_fn("split_rev", |text: Text, by: char, most: i64| collect(text.rsplitn(parts(most), by)));
}

fn parts(most: i64) -> usize {
    usize::try_from(most).unwrap_or(0).max(1)
}

fn collect<'a>(pieces: impl Iterator<Item = &'a str>) -> Outcome<Array> {
    let mut array = Array::new();
    for piece in pieces {
        // The array doubles its buffer as it grows.
        room(PART_BYTES + piece.len() + array.len() * size_of::<Dynamic>())?;
        array.push(piece.into());
    }
    Ok(array)
}

fn register_cut(engine: &mut Engine) {
    type Range = std::ops::Range<i64>;
    type Closed = std::ops::RangeInclusive<i64>;
    for name in ["sub_string", "chars"] {
        engine
            .register_fn(name, |text: Text, start: i64, length: i64| cut(&text, start, length))
            .register_fn(name, |text: Text, start: i64| cut(&text, start, i64::MAX))
            .register_fn(name, |text: Text, range: Range| cut(&text, range.start.max(0), open(&range)))
            .register_fn(name, |text: Text, range: Closed| {
                cut(&text, (*range.start()).max(0), closed(&range))
            });
    }
    engine
        .register_fn("chars", |text: Text| text)
        .register_get("chars", |text: &mut Text| text.clone())
        .register_fn("crop", |text: &mut Text, start: i64, length: i64| crop(text, start, length))
        .register_fn("crop", |text: &mut Text, start: i64| crop(text, start, i64::MAX))
        .register_fn("crop", |text: &mut Text, range: Range| crop(text, range.start.max(0), open(&range)))
        .register_fn("crop", |text: &mut Text, range: Closed| {
            crop(text, (*range.start()).max(0), closed(&range))
        });
}

fn open(range: &std::ops::Range<i64>) -> i64 {
    range.end.saturating_sub(range.start.max(0))
}

fn closed(range: &std::ops::RangeInclusive<i64>) -> i64 {
    range.end().saturating_sub((*range.start()).max(0)).saturating_add(1)
}

fn crop(text: &mut Text, start: i64, length: i64) -> Outcome<()> {
    *text = cut(text, start, length)?;
    Ok(())
}

/// Characters from `start` (from the end if negative), at most `length` of them.
fn cut(text: &str, start: i64, length: i64) -> Outcome<Text> {
    let Ok(length) = usize::try_from(length) else { return Ok(Text::new()) };
    let from = byte_at(text, start);
    let rest = &text[from..];
    let end = rest.char_indices().nth(length).map_or(rest.len(), |(at, _)| at);
    text_room(end)?;
    Ok(rest[..end].into())
}

/// The byte where a character begins, counted from the end if negative; the text's end if beyond.
fn byte_at(text: &str, start: i64) -> usize {
    let places = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
    if start < 0 {
        return text.char_indices().rev().nth(places.saturating_sub(1)).map_or(0, |(at, _)| at);
    }
    text.char_indices().nth(places).map_or(text.len(), |(at, _)| at)
}

fn index_of(text: &str, what: &str, start: i64) -> i64 {
    let from = byte_at(text, start);
    text[from..]
        .find(what)
        .and_then(|found| i64::try_from(text[..from + found].chars().count()).ok())
        .unwrap_or(-1)
}
