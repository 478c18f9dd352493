//! The fields of a line: one line whatever is in them, and none without end.

use std::fmt::{self, Debug, Write};
use tracing::field::Field;
use tracing_subscriber::fmt::format::Writer;

/// The longest field, in characters.
const LONGEST: usize = 4096;

/// Fields in which others speak.
const OF_OTHERS: [&str; 6] = ["error", "details", "pod", "container", "netns", "network"];

/// The longest that a field may be, in characters. Where others speak that is less: servers answer with
/// pages, clients send anything.
pub(super) fn longest(name: &str) -> usize {
    if OF_OTHERS.contains(&name) { quoted::LONG } else { LONGEST }
}

/// Writes one field.
pub(super) fn write(out: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    write_named(out, field.name(), value)
}

fn write_named(out: &mut dyn Write, name: &str, value: &dyn Debug) -> fmt::Result {
    let limit = longest(name);
    if name != "message" {
        write!(out, "{}=", name.trim_start_matches("r#"))?;
    }
    quoted::write(out, limit, format_args!("{value:?}"))
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
