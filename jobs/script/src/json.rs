//! JSON and printed forms inside scripts: `parse_json`, `to_json`, `to_string`, within the limits.
//!
//! Rhai's own forms are unbounded: a list of one text shared a million times prints as a million
//! copies. These ask before each piece.

use rhai::{Array, Dynamic, Engine, EvalAltResult, FuncRegistration, ImmutableString, Map};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::convert::{self, Refusal};
use crate::guard;
use crate::limits::Limits;

/// Nesting beyond which a printed form shows an ellipsis, in levels.
const PRINTED_DEPTH: usize = 32;

type Outcome<T> = Result<T, Box<EvalAltResult>>;

/// Puts the functions of this file into the engine.
pub(crate) fn register(engine: &mut Engine, limits: &Limits) {
    let (depth, bytes) = (limits.depth, limits.output_bytes);
    engine.register_fn("parse_json", move |text: ImmutableString| parse(&text, depth));
    FuncRegistration::new("to_json")
        .with_purity(true)
        .register_into_engine(engine, move |fields: &mut Map| write(fields, depth, bytes));
    for name in ["to_string", "to_debug"] {
        FuncRegistration::new(name)
            .with_purity(true)
            .register_into_engine(engine, move |items: &mut Array| {
                ImmutableString::from(print_array(items, bytes))
            });
        FuncRegistration::new(name)
            .with_purity(true)
            .register_into_engine(engine, move |fields: &mut Map| {
                ImmutableString::from(print_map(fields, bytes))
            });
    }
    FuncRegistration::new("to_debug").with_purity(true).register_into_engine(
        engine,
        move |text: &mut ImmutableString| {
            let mut out = Printer::new(bytes);
            out.quoted(text);
            ImmutableString::from(out.text)
        },
    );
}

/// The start of a value as text, for a message of at most `bytes` bytes and a little.
pub(crate) fn brief(value: &Dynamic, bytes: usize) -> String {
    let mut out = Printer::new(bytes);
    if let Ok(text) = value.as_immutable_string_ref() {
        out.piece(&text);
    } else {
        out.value(value, PRINTED_DEPTH);
    }
    out.text
}

fn print_array(items: &Array, bytes: usize) -> String {
    let mut out = Printer::new(bytes);
    out.array(items, PRINTED_DEPTH);
    out.text
}

fn print_map(fields: &Map, bytes: usize) -> String {
    let mut out = Printer::new(bytes);
    out.map(fields, PRINTED_DEPTH);
    out.text
}

/// Writes Rhai's notation until its bytes or the script's limits are used up. It cannot fail,
/// because Rhai answers a failed `to_string` with an unbounded one of its own: it cuts instead, and
/// a tripped guard stops the script at the next operation.
struct Printer {
    text: String,
    left: usize,
    full: bool,
}

impl Printer {
    const fn new(bytes: usize) -> Self {
        Self { text: String::new(), left: bytes, full: false }
    }

    fn piece(&mut self, text: &str) {
        if self.full {
            return;
        }
        let mut end = text.len().min(self.left);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // A growing text doubles its buffer.
        if guard::room(end + self.text.len()).is_err() {
            self.full = true;
            return;
        }
        self.text.push_str(&text[..end]);
        self.left -= end;
        if end < text.len() {
            self.text.push('…');
            self.full = true;
        }
    }

    fn quoted(&mut self, text: &str) {
        self.piece("\"");
        let mut rest = text;
        while let Some(at) = rest.find(['"', '\\', '\n', '\r', '\t']) {
            if self.full {
                return;
            }
            self.piece(&rest[..at]);
            self.piece(match rest.as_bytes()[at] {
                b'"' => "\\\"",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                _ => "\\\\",
            });
            rest = &rest[at + 1..];
        }
        self.piece(rest);
        self.piece("\"");
    }

    fn value(&mut self, value: &Dynamic, depth: usize) {
        if self.full || guard::tick().is_err() {
            self.full = true;
        } else if let Ok(items) = value.as_array_ref() {
            self.array(&items, depth);
        } else if let Ok(fields) = value.as_map_ref() {
            self.map(&fields, depth);
        } else if let Ok(text) = value.as_immutable_string_ref() {
            self.quoted(&text);
        } else {
            // What is left is of bounded length: numbers, booleans, names of functions.
            self.piece(&value.to_string());
        }
    }

    fn array(&mut self, items: &Array, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return self.piece("[…]") };
        self.piece("[");
        for (index, item) in items.iter().enumerate() {
            if self.full {
                return;
            }
            if index > 0 {
                self.piece(", ");
            }
            self.value(item, depth);
        }
        self.piece("]");
    }

    fn map(&mut self, fields: &Map, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return self.piece("#{…}") };
        self.piece("#{");
        for (index, (key, item)) in fields.iter().enumerate() {
            if self.full {
                return;
            }
            if index > 0 {
                self.piece(", ");
            }
            self.quoted(key);
            self.piece(": ");
            self.value(item, depth);
        }
        self.piece("}");
    }
}

/// An object map as JSON text.
fn write(fields: &mut Map, depth: usize, bytes: usize) -> Outcome<ImmutableString> {
    // The conversion wants a value; the map is lent to one and given back whatever comes of it.
    let value = Dynamic::from_map(std::mem::take(fields));
    let json = convert::to_json(&value, depth, &mut { bytes });
    if let Some(back) = value.try_cast::<Map>() {
        *fields = back;
    }
    match json {
        Ok(json) => {
            // Escapes make a text up to six times as long, and a growing buffer doubles.
            guard::room(bytes).map_err(guard::stop)?;
            let text = json.to_string();
            guard::room(text.len()).map_err(guard::stop)?;
            Ok(text.into())
        }
        Err(Refusal::Stopped(trip)) => Err(guard::stop(trip)),
        Err(Refusal::TooLarge) => Err(format!("to_json: the text is longer than {bytes} bytes").into()),
        Err(Refusal::TooDeep) => Err(format!("to_json: nested more than {depth} levels").into()),
        Err(Refusal::Nul) => Err("to_json: a text holds the character U+0000".into()),
        Err(Refusal::NoJsonForm(kind)) => Err(format!("to_json: `{kind}` has no JSON form").into()),
    }
}

/// JSON text to a value, asking the guard at each element.
fn parse(text: &str, depth: usize) -> Outcome<Dynamic> {
    guard::tick().map_err(guard::stop)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let parsed = Seed { depth }.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    // A tripped guard shows as an error of the parser; the guard's own verdict comes first.
    guard::tick().map_err(guard::stop)?;
    parsed.map_err(|error| format!("parse_json: {error}").into())
}

struct Seed {
    depth: usize,
}

impl Seed {
    fn deeper<E: Error>(&self) -> Result<usize, E> {
        self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))
    }
}

fn go_on<E: Error>() -> Result<(), E> {
    guard::tick().map_err(|_| E::custom("stopped"))
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Dynamic, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Dynamic;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E: Error>(self, it: bool) -> Result<Dynamic, E> {
        Ok(it.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Dynamic, E> {
        Ok(number.into())
    }

    #[allow(clippy::cast_precision_loss, reason = "a number beyond 64 signed bits keeps its size only")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(number).map_or_else(|_| (number as f64).into(), Into::into))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Dynamic, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Dynamic, E> {
        guard::room(text.len()).map_err(|_| E::custom("stopped"))?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let depth = self.deeper()?;
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(Self { depth })? {
            go_on()?;
            array.push(item);
        }
        Ok(Dynamic::from_array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Dynamic, A::Error> {
        let depth = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            go_on()?;
            let item = fields.next_value_seed(Self { depth })?;
            map.insert(key.into(), item);
        }
        Ok(Dynamic::from_map(map))
    }
}
