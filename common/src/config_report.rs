//! ConfigReport: what `--check-config` has to say about a file, for an operator and for scripts.
//!
//! ```text
//!   broker.conf:7: warning: mapedFileSizeCommitLog: unknown, it has no effect; did you mean `mappedFileSizeCommitLog`?
//!   broker.conf: 1 warning
//! ```
//!
//! A finding stands at the line that counts: of a repeated key the last one.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use crate::properties::{PropertyLine, nearest_key};

/// What a finding means for a start with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// The server starts, and something in the file does not do what it says.
    Warning,
    /// The server does not start.
    Error,
}

impl Severity {
    /// What `--check-config` exits with when this is the gravest finding.
    pub fn exit_code(self) -> u8 {
        match self {
            Severity::Note => 0,
            Severity::Warning => 1,
            Severity::Error => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One thing to say about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// Where the key stands; `None` for one that the file does not have.
    pub line: Option<usize>,
    /// The key.
    pub key: String,
    /// What is the matter and what to do.
    pub text: String,
}

/// The findings of one file.
#[derive(Debug)]
pub struct ConfigReport {
    file: String,
    lines: HashMap<String, usize>,
    findings: Vec<Finding>,
}

impl ConfigReport {
    /// Begins a report on the pairs of `file`, with what the pairs themselves show: keys given twice.
    pub fn new(file: &Path, pairs: &[PropertyLine]) -> Self {
        let mut report = Self {
            file: file.display().to_string(),
            lines: HashMap::new(),
            findings: Vec::new(),
        };
        for pair in pairs {
            if let Some(earlier) = report.lines.insert(pair.key.clone(), pair.line) {
                let text = format!("given before in line {earlier}; the last one counts");
                report.add(Severity::Warning, &pair.key, text);
            }
        }
        report
    }

    /// A report on a file that cannot be read at all.
    pub fn unreadable(file: &Path, why: impl fmt::Display) -> Self {
        let mut report = Self::new(file, &[]);
        report.add(Severity::Error, "", why.to_string());
        report
    }

    /// Adds a finding about a key.
    pub fn add(&mut self, severity: Severity, key: &str, text: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            line: self.lines.get(key).copied(),
            key: key.to_owned(),
            text: text.into(),
        });
    }

    /// Adds that nothing knows a key, with the known one it resembles.
    pub fn add_unknown<'a>(&mut self, key: &str, known: impl Iterator<Item = &'a str>) {
        if key.is_empty() {
            self.add(Severity::Warning, key, "a value without a key, it has no effect");
            return;
        }
        let hint = nearest_key(key, known)
            .map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
        self.add(Severity::Warning, key, format!("unknown, it has no effect{hint}"));
    }

    /// Whether the file has the key.
    pub fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// Everything found, in the order of the lines; what has none comes last.
    pub fn findings(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| finding.line.unwrap_or(usize::MAX));
        findings
    }

    /// What `--check-config` exits with: 0 fine, 1 warnings, 2 refused.
    pub fn exit_code(&self) -> u8 {
        self.findings
            .iter()
            .map(|finding| finding.severity.exit_code())
            .max()
            .unwrap_or(0)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }
}

impl fmt::Display for ConfigReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in self.findings() {
            write!(f, "{}:", self.file)?;
            if let Some(line) = finding.line {
                write!(f, "{line}:")?;
            }
            write!(f, " {}: ", finding.severity.name())?;
            if !finding.key.is_empty() {
                write!(f, "{}: ", finding.key)?;
            }
            writeln!(f, "{}", finding.text)?;
        }
        let counts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
            .into_iter()
            .map(|severity| (self.count(severity), severity.name()))
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }))
            .collect();
        match counts.as_slice() {
            [] => writeln!(f, "{}: fine", self.file),
            counts => writeln!(f, "{}: {}", self.file, counts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::properties::property_lines;

    fn report(text: &str) -> ConfigReport {
        ConfigReport::new(Path::new("a.conf"), &property_lines(text))
    }

    #[test]
    fn findings_stand_at_their_lines_and_the_gravest_decides() {
        let mut report = report("b=1\n# c\na=1\nb=2\n");
        report.add(Severity::Note, "absent", "is not there");
        report.add_unknown("a", ["aa"].into_iter());
        assert_eq!(report.exit_code(), 1);
        assert_eq!(
            report.to_string(),
            "a.conf:3: warning: a: unknown, it has no effect; did you mean `aa`?\n\
             a.conf:4: warning: b: given before in line 1; the last one counts\n\
             a.conf: note: absent: is not there\n\
             a.conf: 2 warnings, 1 note\n"
        );
        report.add(Severity::Error, "b", "bad");
        assert_eq!(report.exit_code(), 2);
    }

    #[test]
    fn a_value_without_a_key_is_told_by_its_line() {
        let mut report = report("a=1\n=2\n");
        report.add_unknown("", ["a"].into_iter());
        assert_eq!(
            report.to_string(),
            "a.conf:2: warning: a value without a key, it has no effect\na.conf: 1 warning\n"
        );
    }

    #[test]
    fn a_file_without_findings_is_fine_and_notes_keep_it_so() {
        let mut report = report("a=1\n");
        assert_eq!(
            (report.exit_code(), report.to_string().as_str()),
            (0, "a.conf: fine\n")
        );
        report.add(Severity::Note, "a", "x");
        assert_eq!(report.exit_code(), 0);
        let unreadable = ConfigReport::unreadable(Path::new("b.conf"), "no such file");
        assert_eq!(unreadable.exit_code(), 2);
        assert_eq!(
            unreadable.to_string(),
            "b.conf: error: no such file\nb.conf: 1 error\n"
        );
    }
}
