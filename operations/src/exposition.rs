//! Exposition: figures in Prometheus' text format, written in chunks so that a large answer needs little memory.
//!
//! ```text
//!   # HELP rocketmq_topic_number Active topic number
//!   # TYPE rocketmq_topic_number gauge
//!   rocketmq_topic_number{cluster="DefaultCluster",node_id="broker-a",node_type="broker"} 20
//! ```
//!
//! Names, kinds and labels are declared as [`Metric`]s. Of one metric at most `series_limit` series are written; the rest is
//! counted, as the reference's OpenTelemetry does with `metricsOtelCardinalityLimit`.

use std::fmt::{Display, Write as _};

/// Text handed over at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// What kind of figure a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by class, a count and a sum.
    Histogram,
}

/// One metric: a name that queries use, and what it is.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// One sentence for people.
    pub help: &'static str,
}

/// A histogram as it was read.
#[derive(Clone, Copy, Debug)]
pub struct HistogramReading<'a> {
    /// Upper limits of the classes, inclusive; a last class has none.
    pub limits: &'a [u64],
    /// How many fell into each class: one more than `limits`.
    pub counts: &'a [u64],
    /// The sum of all values.
    pub sum: u64,
}

/// Where chunks go. False when nobody wants more.
pub type Sink<'a> = dyn FnMut(String) -> bool + 'a;

/// See the [module](self).
pub struct Exposition<'a> {
    text: String,
    sink: &'a mut Sink<'a>,
    is_wanted: bool,
    /// Labels of every series, formatted.
    constant: String,
    series_limit: usize,
    metric: Option<Metric>,
    series: usize,
    dropped: u64,
}

impl<'a> Exposition<'a> {
    /// Writes to `sink`. Call [`Self::finish`] at the end.
    pub fn new(sink: &'a mut Sink<'a>) -> Self {
        Exposition {
            text: String::with_capacity(CHUNK_BYTES + 4 * 1024),
            sink,
            is_wanted: true,
            constant: String::new(),
            series_limit: usize::MAX,
            metric: None,
            series: 0,
            dropped: 0,
        }
    }

    /// Sets the labels of every series and how many series one metric may have.
    pub fn configure<'b>(
        &mut self,
        constant: impl IntoIterator<Item = (&'b str, &'b str)>,
        series_limit: usize,
    ) {
        self.series_limit = series_limit;
        for (name, value) in constant {
            push_label(&mut self.constant, name, value);
        }
    }

    /// Begins a metric; the series that follow are its own. All series of a metric stand together.
    pub fn metric(&mut self, metric: &Metric) {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let Metric { name, help, .. } = metric;
        let _infallible = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self.metric = Some(*metric);
        self.series = 0;
    }

    /// One series of the metric begun last.
    pub fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        if self.admits() {
            self.line("", labels, None, value);
        }
    }

    /// One series of a histogram.
    pub fn histogram(&mut self, labels: &[(&str, &str)], reading: HistogramReading<'_>) {
        debug_assert_eq!(reading.counts.len(), reading.limits.len() + 1);
        if !self.admits() {
            return;
        }
        let mut up_to = 0;
        for (count, limit) in reading.counts.iter().zip(reading.limits) {
            up_to += count;
            self.line("_bucket", labels, Some(&format!("{limit}.0")), up_to);
        }
        let all: u64 = reading.counts.iter().sum();
        self.line("_bucket", labels, Some("+Inf"), all);
        self.line("_count", labels, None, all);
        self.line("_sum", labels, None, reading.sum);
    }

    /// Whether anybody still waits for it; a long computation may look now and then.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Hands over the rest. Returns how many series were left out.
    pub fn finish(mut self) -> u64 {
        self.hand_over();
        self.dropped
    }

    fn admits(&mut self) -> bool {
        if self.series >= self.series_limit {
            self.dropped += 1;
            return false;
        }
        self.series += 1;
        self.is_wanted
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], limit: Option<&str>, value: impl Display) {
        let Some(metric) = self.metric else {
            debug_assert!(false, "a series without a metric");
            return;
        };
        self.text.push_str(metric.name);
        self.text.push_str(suffix);
        let begin = self.text.len();
        self.text.push('{');
        self.text.push_str(&self.constant);
        for (name, value) in labels {
            push_label(&mut self.text, name, value);
        }
        if let Some(limit) = limit {
            push_label(&mut self.text, "le", limit);
        }
        match self.text.len() == begin + 1 {
            true => self.text.truncate(begin),
            false => {
                self.text.pop();
                self.text.push('}');
            }
        }
        let _infallible = writeln!(self.text, " {value}");
        if self.text.len() >= CHUNK_BYTES {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let chunk = std::mem::replace(&mut self.text, String::with_capacity(CHUNK_BYTES + 4 * 1024));
        if self.is_wanted && !chunk.is_empty() {
            self.is_wanted = (self.sink)(chunk);
        }
    }
}

/// `name="value",` with the escapes of the format.
fn push_label(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(c),
        }
    }
    text.push_str("\",");
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAUGE: Metric = Metric {
        name: "a_gauge",
        kind: Kind::Gauge,
        help: "A gauge.",
    };
    const HISTOGRAM: Metric = Metric {
        name: "a_histogram",
        kind: Kind::Histogram,
        help: "A histogram.",
    };

    fn written(write: impl FnOnce(&mut Exposition<'_>)) -> (String, u64) {
        let mut text = String::new();
        let mut sink = |chunk: String| {
            text.push_str(&chunk);
            true
        };
        let mut out = Exposition::new(&mut sink);
        write(&mut out);
        let dropped = out.finish();
        (text, dropped)
    }

    #[test]
    fn series_carry_their_labels_and_histograms_add_up() {
        let (text, _) = written(|out| {
            out.configure([("cluster", "C")], 10);
            out.metric(&GAUGE);
            out.value(&[("topic", "a\"b\\c\n")], 1.5);
            out.metric(&HISTOGRAM);
            out.histogram(
                &[],
                HistogramReading {
                    limits: &[1, 3],
                    counts: &[2, 0, 1],
                    sum: 14,
                },
            );
        });
        assert_eq!(
            text,
            "# HELP a_gauge A gauge.\n# TYPE a_gauge gauge\n\
             a_gauge{cluster=\"C\",topic=\"a\\\"b\\\\c\\n\"} 1.5\n\
             # HELP a_histogram A histogram.\n# TYPE a_histogram histogram\n\
             a_histogram_bucket{cluster=\"C\",le=\"1.0\"} 2\n\
             a_histogram_bucket{cluster=\"C\",le=\"3.0\"} 2\n\
             a_histogram_bucket{cluster=\"C\",le=\"+Inf\"} 3\n\
             a_histogram_count{cluster=\"C\"} 3\n\
             a_histogram_sum{cluster=\"C\"} 14\n"
        );
    }

    #[test]
    fn a_series_without_labels_has_no_braces() {
        let (text, _) = written(|out| {
            out.metric(&GAUGE);
            out.value(&[], 1);
        });
        assert!(text.ends_with("a_gauge 1\n"), "{text}");
    }

    #[test]
    fn series_beyond_the_limit_of_a_metric_are_counted_and_left_out() {
        let (text, dropped) = written(|out| {
            out.configure([], 2);
            for _ in 0..2 {
                out.metric(&GAUGE);
                for series in 0..5 {
                    out.value(&[("n", &series.to_string())], 1);
                }
            }
        });
        assert_eq!((text.matches("a_gauge{").count(), dropped), (4, 6));
    }

    #[test]
    fn chunks_are_bounded_and_nothing_is_written_for_nobody() {
        let mut chunks = Vec::new();
        let mut sink = |chunk: String| {
            chunks.push(chunk.len());
            chunks.len() < 2
        };
        let mut out = Exposition::new(&mut sink);
        out.metric(&GAUGE);
        for series in 0..10_000 {
            out.value(&[("n", &format!("{series:0100}"))], 1);
        }
        assert!(!out.is_wanted());
        out.finish();
        assert_eq!(chunks.len(), 2);
        assert!(
            chunks.iter().all(|bytes| *bytes < CHUNK_BYTES + 1024),
            "{chunks:?}"
        );
    }
}
