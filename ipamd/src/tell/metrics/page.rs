//! Numbers by metric and labels, and the text in which Prometheus reads them.

use super::table::{Kind, Metric, SHADOW, TABLE};
use std::{collections::BTreeMap, fmt::Write};

/// Values of labels, in the order of their names.
type Labels = Vec<String>;

/// Combinations of labels of one metric: far more than there are actions and codes of EC2. What
/// comes after that is not counted, so that nobody outside can fill the memory.
const MOST_SERIES: usize = 512;

/// Numbers by metric and labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    numbers: BTreeMap<&'static str, BTreeMap<Labels, Number>>,
}

#[derive(Clone, Debug, Default)]
struct Number {
    /// What a counter or a gauge shows, and the sum of all that was observed.
    value: f64,
    /// How many were observed.
    count: u64,
    /// How many were at most as large as each limit of a histogram, and larger than the one before.
    buckets: Vec<u64>,
}

impl Page {
    /// Without any number.
    pub(crate) const fn new() -> Self {
        Self { numbers: BTreeMap::new() }
    }

    /// Counts.
    pub(crate) fn add(&mut self, metric: &'static Metric, labels: &[&str], more: f64) {
        if let Some(number) = self.number(metric, labels) {
            number.value += more;
        }
    }

    /// Shows.
    pub(crate) fn set(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        if let Some(number) = self.number(metric, labels) {
            number.value = value;
        }
    }

    /// Notes one of many measurements.
    pub(crate) fn observe(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let Some(number) = self.number(metric, labels) else { return };
        number.value += value;
        number.count += 1;
        if let Kind::Histogram(limits) = metric.kind {
            number.buckets.resize(limits.len(), 0);
            let bucket = limits.iter().position(|limit| value <= *limit);
            if let Some(bucket) = bucket.and_then(|bucket| number.buckets.get_mut(bucket)) {
                *bucket += 1;
            }
        }
    }

    fn number(&mut self, metric: &'static Metric, labels: &[&str]) -> Option<&mut Number> {
        let numbers = self.numbers.entry(metric.name).or_default();
        let labels: Labels = labels.iter().map(|label| (*label).to_owned()).collect();
        if numbers.len() >= MOST_SERIES && !numbers.contains_key(&labels) {
            return None;
        }
        Some(numbers.entry(labels).or_default())
    }

    /// The page in Prometheus' text format. A metric without labels is there before anything
    /// happened, so that an alarm on it works from the beginning.
    pub(crate) fn text(&self) -> String {
        self.text_of(TABLE)
    }

    /// The same of what `ipamd shadow` tells.
    pub(crate) fn shadow_text(&self) -> String {
        self.text_of(SHADOW)
    }

    fn text_of(&self, table: &[&'static Metric]) -> String {
        let mut text = String::new();
        for metric in table {
            let Metric { name, kind, labels, help } = metric;
            let word = kind.word();
            let none = BTreeMap::from([(vec![], Number::default())]);
            let numbers = match self.numbers.get(name) {
                Some(numbers) => numbers,
                None if labels.is_empty() => &none,
                None => continue,
            };
            // Writing to a text cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {word}\n");
            for (values, number) in numbers {
                let pairs: Vec<String> = labels
                    .iter()
                    .zip(values)
                    .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
                    .collect();
                lines(&mut text, metric, &pairs, number);
            }
        }
        text
    }
}

fn lines(text: &mut String, metric: &Metric, pairs: &[String], number: &Number) {
    let Number { value, count, buckets } = number;
    let mut line = |suffix: &str, pairs: &[String], value: &dyn std::fmt::Display| {
        let name = metric.name;
        let labels =
            if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) };
        let _ = writeln!(text, "{name}{suffix}{labels} {value}");
    };
    match metric.kind {
        Kind::Counter | Kind::Gauge => line("", pairs, value),
        Kind::Summary => {
            line("_sum", pairs, value);
            line("_count", pairs, count);
        }
        Kind::Histogram(limits) => {
            let mut below = 0;
            for (index, limit) in limits.iter().enumerate() {
                below += buckets.get(index).copied().unwrap_or(0);
                line("_bucket", &[pairs, &[format!("le=\"{limit}\"")]].concat(), &below);
            }
            line("_bucket", &[pairs, &["le=\"+Inf\"".to_owned()]].concat(), count);
            line("_sum", pairs, value);
            line("_count", pairs, count);
        }
    }
}

/// Prometheus' text format: a backslash, a quote and a line feed in a label are escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tell::metrics::{
        ADD_REQUESTS, API_ERRORS, API_LATENCY_MS, IP_ASSIGNED, WAIT_SECONDS,
    };

    #[test]
    fn a_metric_without_labels_is_shown_before_anything_happened() {
        let text = Page::new().text();

        assert!(text.contains("\nawscni_add_ip_req_count 0\n"), "{text}");
        assert!(text.contains("\neni_cni_address_wait_seconds_bucket{le=\"+Inf\"} 0\n"), "{text}");
        assert!(!text.contains("awscni_ec2api_req_count"), "{text}");
    }

    #[test]
    fn numbers_are_shown_as_prometheus_reads_them() {
        let mut page = Page::new();
        page.add(&ADD_REQUESTS, &[], 1.0);
        page.add(&ADD_REQUESTS, &[], 1.0);
        page.set(&IP_ASSIGNED, &[], 7.0);
        page.set(&IP_ASSIGNED, &[], 3.0);
        page.add(&API_ERRORS, &["Attach", "a \"b\" \\ c\nd"], 1.0);
        page.observe(&API_LATENCY_MS, &["Create", "false", "200"], 200.5);
        page.observe(&API_LATENCY_MS, &["Create", "false", "200"], 100.0);
        page.observe(&WAIT_SECONDS, &[], 0.002);
        page.observe(&WAIT_SECONDS, &[], 60.0);

        let text = page.text();

        for line in [
            "awscni_add_ip_req_count 2",
            "awscni_assigned_ip_addresses 3",
            r#"awscni_aws_api_error_count{api="Attach",error="a \"b\" \\ c\nd"} 1"#,
            "# TYPE awscni_aws_api_latency_ms summary",
            r#"awscni_aws_api_latency_ms_sum{api="Create",error="false",status="200"} 300.5"#,
            r#"awscni_aws_api_latency_ms_count{api="Create",error="false",status="200"} 2"#,
            r#"eni_cni_address_wait_seconds_bucket{le="0.001"} 0"#,
            r#"eni_cni_address_wait_seconds_bucket{le="0.0025"} 1"#,
            r#"eni_cni_address_wait_seconds_bucket{le="30"} 1"#,
            r#"eni_cni_address_wait_seconds_bucket{le="+Inf"} 2"#,
            "eni_cni_address_wait_seconds_count 2",
        ] {
            assert!(text.lines().any(|is| is == line), "no line {line} in\n{text}");
        }
    }

    #[test]
    fn labels_that_nobody_bounds_do_not_fill_the_memory() {
        let mut page = Page::new();

        for code in 0..10 * MOST_SERIES {
            page.add(&API_ERRORS, &["Attach", &code.to_string()], 1.0);
        }
        page.add(&API_ERRORS, &["Attach", "0"], 1.0);

        let text = page.text();
        assert_eq!(text.matches("awscni_aws_api_error_count{").count(), MOST_SERIES);
        assert!(text.contains(r#"awscni_aws_api_error_count{api="Attach",error="0"} 2"#));
    }

    #[test]
    fn the_documentation_has_the_table_of_metrics() {
        let document = include_str!("../../../../docs/metrics.md");

        assert!(
            document.contains(&crate::tell::metrics::table()),
            "docs/metrics.md: put in\n{}",
            crate::tell::metrics::table()
        );
    }
}
