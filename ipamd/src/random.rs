//! Random changes of what servers answer, for tests of those who read it. The seed is in every message.

use serde_json::{Value, json};

/// Inputs that a test reads: with the readers' code in a debug build some seconds.
pub(crate) const INPUTS: u64 = 20_000;

/// Numbers from a seed (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).map_or(0, |number| number % limit.max(1))
    }

    /// A text with some of its parts changed, doubled, moved or gone.
    pub(crate) fn text(&mut self, text: &str) -> Vec<u8> {
        const ODD: &[&str] = &[
            "",
            "0",
            "-1",
            "99999999999999999999",
            "10.0.0.0/33",
            "0.0.0.0/0",
            "255.255.255.255",
            "::1",
            "\0",
            "\u{202e}",
            "<",
            "&#0;",
            "&amp",
            "\n",
            "true",
            "ü",
        ];
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.below(4) {
            let (one, other) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
            let (from, to) = (one.min(other), one.max(other).min(one.min(other) + 40));
            let part: Vec<u8> = match self.below(5) {
                0 => vec![],
                1 => ODD[self.below(ODD.len())].into(),
                2 => bytes[from..to].repeat(2),
                3 => vec![u8::try_from(self.below(256)).unwrap_or(0); self.below(3)],
                _ => {
                    let end = bytes.len().min(to + self.below(200));
                    bytes[to..end].to_vec()
                }
            };
            bytes.splice(from..to, part);
        }
        bytes
    }

    /// An object with some of its values changed or gone.
    pub(crate) fn object(&mut self, mut object: Value) -> Value {
        for _ in 0..=self.below(3) {
            self.change(&mut object);
        }
        object
    }

    fn change(&mut self, value: &mut Value) {
        let deeper = match value {
            Value::Object(map) if !map.is_empty() && self.below(8) > 0 => {
                let nth = self.below(map.len());
                map.values_mut().nth(nth)
            }
            Value::Array(list) if !list.is_empty() && self.below(8) > 0 => {
                let nth = self.below(list.len());
                list.get_mut(nth)
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        };
        match deeper {
            Some(deeper) => self.change(deeper),
            None => {
                let odd = [
                    json!(null),
                    json!(true),
                    json!(-1),
                    json!(1.5e300),
                    json!(u64::MAX),
                    json!(""),
                    json!("\u{1b}[2J\n"),
                    json!("x".repeat(5000)),
                    json!([]),
                    json!([null, {}, "a"]),
                    json!({}),
                    json!({ "a": [1, { "b": null }] }),
                ];
                *value = odd[self.below(odd.len())].clone();
            }
        }
    }
}
