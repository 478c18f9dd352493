//! A line as one JSON object, its texts as short as in the other form.

use super::field::longest;
use quoted::quoted;
use record::stamp::rfc3339;
use serde_json::{Map, Value};
use std::{
    fmt::{self, Debug},
    time::SystemTime,
};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// Formats lines.
#[derive(Debug)]
pub(super) struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields(Map::new());
        let meta = event.metadata();
        for (name, value) in [
            ("timestamp", rfc3339(SystemTime::now())),
            ("level", meta.level().to_string()),
            ("target", meta.target().to_owned()),
        ] {
            fields.0.insert(name.into(), value.into());
        }
        event.record(&mut fields);
        writeln!(out, "{}", Value::Object(fields.0))
    }
}

/// The fields of a line.
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().trim_start_matches("r#").into(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, quoted(value, longest(field.name())));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, quoted(format_args!("{value:?}"), longest(field.name())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{self, Write},
        sync::{Arc, Mutex, PoisonError},
    };
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_line_is_one_object_and_short_whatever_its_fields_say() {
        let written = Written::default();
        let out = written.clone();
        let layer =
            tracing_subscriber::fmt::layer().event_format(Lines).with_writer(move || out.clone());
        let subscriber = tracing_subscriber::registry().with(layer);

        tracing::subscriber::with_default(subscriber, || {
            let page = "<p>\n\"".repeat(1_000_000);
            tracing::warn!(error = page, took_ms = 5, eni = %"eni-1", "failed to read");
        });

        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert!(text.len() < 4000 && text.lines().count() == 1, "{text}");
        assert!(line["error"].as_str().unwrap().ends_with("more characters)"), "{line}");
        assert_eq!(
            (&line["took_ms"], &line["eni"], &line["message"], &line["level"]),
            (&5.into(), &"eni-1".into(), &"failed to read".into(), &"WARN".into())
        );
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
