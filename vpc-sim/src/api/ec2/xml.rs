//! Writing EC2's XML.

use quick_xml::escape::escape;
use std::fmt::{Display, Write as _};
use vpc::Ec2Error;

/// The API version, the last one that EC2 has had.
pub(super) const VERSION: &str = "2016-11-15";

/// XML under construction.
#[derive(Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    /// `<name>text</name>`.
    pub(super) fn text(&mut self, name: &str, text: impl Display) {
        let text: String = text.to_string().chars().map(legal).collect();
        // Writing to a String cannot fail.
        let _ = write!(self.0, "<{name}>{}</{name}>", escape(&text));
    }

    /// `<name>text</name>`, or nothing.
    pub(super) fn optional(&mut self, name: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// `<name>…</name>`.
    pub(super) fn element(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "<{name}>");
        write(self);
        let _ = write!(self.0, "</{name}>");
    }

    /// `<name><item>…</item>…</name>`, or `<name/>`.
    pub(super) fn set<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_none() {
            let _ = write!(self.0, "<{name}/>");
            return;
        }
        self.element(name, |xml| {
            for item in items {
                xml.element("item", |xml| write(xml, item));
            }
        });
    }
}

// XML 1.0, section 2.2: control characters cannot be written, not even escaped.
fn legal(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' => character,
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => character,
    }
}

/// The answer to an action.
pub(super) fn answer(action: &str, request_id: &str, content: &Xml) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <{action}Response xmlns=\"http://ec2.amazonaws.com/doc/{}/\">\
         <requestId>{request_id}</requestId>{}</{action}Response>",
        VERSION, content.0
    )
}

/// The answer to what is refused. EC2 writes `RequestID` here and `requestId` above.
pub(super) fn error(error: &Ec2Error, request_id: &str) -> String {
    let mut xml = Xml::default();
    xml.element("Response", |xml| {
        xml.element("Errors", |xml| {
            xml.element("Error", |xml| {
                xml.text("Code", &error.code);
                xml.text("Message", &error.message);
            });
        });
        xml.text("RequestID", request_id);
    });
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", xml.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Xml), want: &str) {
        let mut xml = Xml::default();

        write(&mut xml);

        assert_eq!(xml.0, want);
    }

    #[test]
    fn text_is_escaped() {
        check(
            |xml| xml.text("value", "<a> & \"b\"\u{1}"),
            "<value>&lt;a&gt; &amp; &quot;b&quot;\u{fffd}</value>",
        );
    }

    #[test]
    fn a_list_is_a_set_of_items_and_an_empty_one_is_an_empty_element() {
        let write = |xml: &mut Xml, id: &str| xml.text("id", id);
        check(
            |xml| xml.set("idSet", ["a", "b"], write),
            "<idSet><item><id>a</id></item><item><id>b</id></item></idSet>",
        );
        check(|xml| xml.set("idSet", [], write), "<idSet/>");
    }
}
