//! House rules that the compiler does not check, over every source file of the workspace.

use std::fs;
use std::path::{Path, PathBuf};

const CRATES: [&str; 7] = [
    "common", "remoting", "store", "namesrv", "broker", "loadgen", "fuzz",
];

/// One line of a source file.
struct Line {
    file: String,
    number: usize,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("source directories are readable") {
        let path = entry.expect("directory entries are readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Lines of code outside comments, of the crates' own sources and tests, this file excepted.
fn code_lines() -> Vec<Line> {
    let root = root();
    let mut files = Vec::new();
    for name in CRATES {
        rust_files(&root.join(name), &mut files);
    }
    let mut lines = Vec::new();
    for path in files.iter().filter(|path| !path.ends_with("tests/tidy.rs")) {
        let text = fs::read_to_string(path).expect("sources are UTF-8");
        let file = path
            .strip_prefix(&root)
            .expect("found below the root")
            .display()
            .to_string();
        for (index, text) in text.lines().enumerate() {
            if !text.trim_start().starts_with("//") {
                lines.push(Line {
                    file: file.clone(),
                    number: index + 1,
                    text: text.to_owned(),
                });
            }
        }
    }
    assert!(lines.len() > 1_000, "the walk found the sources");
    lines
}

fn offenders(is_offence: impl Fn(&str) -> bool, allowed: &[&str]) -> Vec<String> {
    code_lines()
        .into_iter()
        .filter(|line| is_offence(&line.text) && !allowed.contains(&line.file.as_str()))
        .map(|line| format!("{}:{}: {}", line.file, line.number, line.text.trim()))
        .collect()
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}

const NONE: Vec<String> = Vec::new();

#[test]
fn unsafe_code_stands_in_one_module() {
    assert_eq!(
        offenders(|line| has_word(line, "unsafe"), &["store/src/mapped_file.rs"]),
        NONE
    );
}

#[test]
fn the_wall_clock_is_asked_in_one_file() {
    assert_eq!(
        offenders(|line| line.contains("SystemTime::now"), &["common/src/clock.rs"]),
        NONE
    );
}

#[test]
fn nothing_is_left_for_later_in_the_code() {
    let placeholders = ["todo!(", "unimplemented!(", "dbg!(", "#[ignore"];
    assert_eq!(
        offenders(|line| placeholders.iter().any(|word| line.contains(word)), &[]),
        NONE
    );
}
