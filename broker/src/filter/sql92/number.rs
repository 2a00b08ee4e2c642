//! Texts as Java reads them: `Integer.valueOf`, `Long.valueOf`, `Double.valueOf`, `Boolean.valueOf`.
//!
//! Left out: digits other than ASCII, and hexadecimal fractions. A property that holds such a number cannot be read.

use std::str::FromStr;

/// An `int` or a `long`: a sign and digits, nothing else.
pub(super) fn integer<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A `double`, in blanks, perhaps with the suffix of a literal.
pub(super) fn double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" if text.starts_with('-') => return Some(f64::NEG_INFINITY),
        "Infinity" => return Some(f64::INFINITY),
        _ => {}
    }
    let digits = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    // Rust reads names of infinity that Java does not know.
    let is_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    digits.bytes().all(is_number).then(|| digits.parse().ok())?
}

/// A `boolean`: whatever is not `true` is false.
pub(super) fn boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_signs_and_digits() {
        for (text, expected) in [
            ("5", Some(5)),
            ("+5", Some(5)),
            ("-5", Some(-5)),
            ("007", Some(7)),
        ] {
            assert_eq!(integer::<i32>(text), expected);
        }
        for text in ["", "-", " 5", "5 ", "5.0", "5L", "0x5", "2147483648", "1_000"] {
            assert_eq!(integer::<i32>(text), None, "{text}");
        }
        assert_eq!(integer("2147483648"), Some(2_147_483_648_i64));
    }

    #[test]
    fn doubles_have_blanks_and_suffixes() {
        let read = [
            ("5", 5.0),
            (" 5.\t", 5.0),
            (".5d", 0.5),
            ("-1e3F", -1000.0),
            ("1e999", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("+Infinity", f64::INFINITY),
        ];
        for (text, expected) in read {
            assert_eq!(double(text), Some(expected), "{text}");
        }
        assert!(double("-NaN").is_some_and(f64::is_nan));
        for text in [
            "",
            " ",
            ".",
            "e5",
            "1e",
            "inf",
            "nan",
            "INFINITY",
            "1 2",
            "d",
            "5dd",
            "Infinityf",
        ] {
            assert_eq!(double(text), None, "{text}");
        }
    }
}
