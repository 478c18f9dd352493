//! The fields of a line: one line whatever is in them, and none without end.

use std::fmt::{self, Debug, Write};
use tracing::field::Field;
use tracing_subscriber::fmt::format::Writer;

/// The longest field, in characters.
const LONGEST: usize = 4096;

/// The longest of a field in which others speak: servers answer with pages, clients send anything.
const LONGEST_OF_OTHERS: usize = 1024;

/// Fields in which others speak.
const OF_OTHERS: [&str; 6] = ["error", "details", "pod", "container", "netns", "network"];

/// Writes one field.
pub(super) fn write(out: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    write_named(out, field.name(), value)
}

fn write_named(out: &mut dyn Write, name: &str, value: &dyn Debug) -> fmt::Result {
    let limit = if OF_OTHERS.contains(&name) { LONGEST_OF_OTHERS } else { LONGEST };
    if name != "message" {
        write!(out, "{}=", name.trim_start_matches("r#"))?;
    }
    let mut bounded = Bounded { out, left: limit, cut: 0 };
    write!(bounded, "{value:?}")?;
    match bounded.cut {
        0 => Ok(()),
        cut => write!(out, "… ({cut} more characters)"),
    }
}

/// Passes on so many characters, control characters as escapes.
struct Bounded<'a> {
    out: &'a mut dyn Write,
    left: usize,
    /// How many were not passed on.
    cut: usize,
}

impl Write for Bounded<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            self.left -= text.len();
            return self.out.write_str(text);
        }
        for char in text.chars() {
            if self.left == 0 {
                self.cut += 1;
                continue;
            }
            self.left -= 1;
            if char.is_control() {
                write!(self.out, "{}", char.escape_default())?;
            } else {
                self.out.write_char(char)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_field_says_ends_its_line() {
        let plain = written("error", &format_args!("a\nERROR b\u{1b}[31m\r\u{7f}"));
        let quoted = written("pod", &"a\nb\"c");

        assert_eq!(plain, r"error=a\nERROR b\u{1b}[31m\r\u{7f}");
        assert_eq!(quoted, r#"pod="a\nb\"c""#);
    }

    #[test]
    fn what_others_say_is_cut_sooner_and_that_is_told() {
        let page = "ü".repeat(5000);

        let (error, own) = (written("error", &format_args!("{page}")), written("plan", &page));

        assert_eq!(error, format!("error={}… (3976 more characters)", "ü".repeat(1024)));
        assert_eq!(own, format!("plan=\"{}… (906 more characters)", "ü".repeat(4095)));
    }

    #[test]
    fn what_happened_has_no_name() {
        assert_eq!(written("message", &format_args!("serving")), "serving");
        assert_eq!(written("r#type", &5), "type=5");
    }

    fn written(name: &str, value: &dyn Debug) -> String {
        let mut out = String::new();
        write_named(&mut out, name, value).unwrap();
        out
    }
}
