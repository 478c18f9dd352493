//! Texts from outside as our own may repeat them: short, and in one line.
//!
//! What a server answers, a file says or a client sends may be a page, a megabyte, or made to look like
//! lines of ours.

use std::fmt::{self, Display, Write};

/// The longest quotation where no other limit is known, in characters: a name, a word, a sentence.
pub const SHORT: usize = 200;

/// The longest that an answer of a server is quoted, in characters: its sentences stay whole.
pub const LONG: usize = 1024;

/// A text in one line and in so many characters; what was left out is counted.
pub fn quoted(text: impl Display, most: usize) -> String {
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = write(&mut out, most, format_args!("{text}"));
    out
}

/// Writes a text in one line and in so many characters, and says how much was left out.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, most: usize, text: fmt::Arguments<'_>) -> fmt::Result {
    let mut bounded = Bounded { out, left: most, cut: 0 };
    bounded.write_fmt(text)?;
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
        let mut chars = text.chars();
        for char in chars.by_ref().take(self.left) {
            self.left -= 1;
            if is_odd(char) {
                write!(self.out, "{}", char.escape_default())?;
            } else {
                self.out.write_char(char)?;
            }
        }
        self.cut += chars.count();
        Ok(())
    }
}

/// Whether a character would move what stands around it: control characters, and the marks that end a
/// line or turn the direction of reading.
fn is_odd(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_the_line_or_moves_what_stands_around_it() {
        let text = "a\nERROR b\u{1b}[31m\r\u{7f}\u{85}\u{2028}\u{202e}ü";

        let quoted = quoted(text, SHORT);

        assert_eq!(quoted, r"a\nERROR b\u{1b}[31m\r\u{7f}\u{85}\u{2028}\u{202e}ü");
    }

    #[test]
    fn what_is_too_long_is_cut_and_that_is_told() {
        assert_eq!(quoted("ü".repeat(5000), 3), "üüü… (4997 more characters)");
        assert_eq!(quoted("x".repeat(3), 3), "xxx");
        // In parts, as values with fields are written.
        for (parts, want) in [
            (["xy", "zzz", "z"], "xyzz… (2 more characters)"),
            (["xü", "zzz", "z"], "xüzz… (2 more characters)"),
            (["", "x", "zzz"], "xzzz"),
        ] {
            let [one, two, three] = parts;
            assert_eq!(quoted(format_args!("{one}{two}{three}"), 4), want);
        }
    }
}
