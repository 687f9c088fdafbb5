//! How large JSON is as it is kept. The database writes numbers out: `1e308` comes back as a one with 308
//! zeros, so that a list of such numbers is sixty times as large as it was sent.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, Serializer};

/// From here on a whole number is kept without a fraction.
const WHOLE: f64 = 1e16;

/// The bytes of a value as JSON without spaces, its numbers written out.
pub fn bytes(value: &Value) -> usize {
    let mut counted = Counted(0);
    // Neither a value nor the counter has a way to fail.
    match value.serialize(&mut Serializer::with_formatter(&mut counted, WrittenOut)) {
        Ok(()) => counted.0,
        Err(_) => usize::MAX,
    }
}

struct Counted(usize);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct WrittenOut;

impl Formatter for WrittenOut {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value.fract() == 0.0 && value.abs() < WHOLE {
            return write!(writer, "{value:.1}");
        }
        write!(writer, "{value}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_counted_as_they_are_written_out() {
        for (value, written) in [
            (json!(1e308), 309),
            (json!(-1e308), 310),
            (json!(1e-300), 302),
            (json!(1.5e300), 301),
            (json!(1.0), 3),
            (json!(0.1), 3),
            (json!(12), 2),
            (json!(u64::MAX), 20),
            (
                json!({"a": [1e20, null, true, "ü\n"]}),
                r#"{"a":[100000000000000000000,null,true,"ü\n"]}"#.len(),
            ),
        ] {
            assert_eq!(bytes(&value), written, "{value}");
        }
        let plain = json!({"a": [1, "b", {"c": "\u{1}"}], "d": -1.25});
        assert_eq!(bytes(&plain), plain.to_string().len());
    }
}
