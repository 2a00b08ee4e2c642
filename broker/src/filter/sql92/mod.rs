//! SQL92 expressions over the properties of a message.
//!
//! ```text
//!   "a > 5 AND b IS NOT NULL" ── lexer ── parser ──> Sql92 { places, condition }          once, at subscription
//!   name 0x01 value 0x02 ..   ── one pass ── values at their places ── evaluate ──> wanted?      for each message
//! ```
//!
//! | loosest first | |
//! |---|---|
//! | `OR` | |
//! | `AND` | |
//! | `=` `<>` `IS NULL` `IS NOT NULL` | |
//! | `<` `<=` `>` `>=` `BETWEEN` `IN` `CONTAINS` `STARTSWITH` `ENDSWITH` | the words also after `NOT` |
//! | `NOT` `+` `-` before something | so `NOT a = 1` is `(NOT a) = 1` |
//!
//! A property is a text. Beside a number it is read as one of that type, beside `TRUE` or `FALSE` as a boolean; ordered against another
//! property, both are read as doubles. What cannot be read fails the whole expression, and the message is not wanted. A property that
//! is missing is null, and so is a comparison with it; a null outcome is not wanted. Two of the reference's rules surprise: `a = b`
//! is true when both are missing, and text after a complete expression is not looked at.
//!
//! Reference: module `filter`, `SelectorParser`, `ComparisonExpression`, `LogicExpression`, `UnaryExpression`.

mod ast;
mod evaluate;
mod lexer;
mod number;
mod parser;

use std::sync::Arc;

use thiserror::Error;

use ast::Condition;

/// The name of these expressions on the wire.
pub const TYPE: &str = "SQL92";
/// Longest expression, in bytes. The reference has no such limit.
pub const MAX_BYTES: usize = 64 * 1024;
/// Most operators in an expression: each may be worked out for each message. The texts after an `IN` cost next to nothing and do not
/// count.
pub const MAX_OPERATORS: usize = 1_024;
/// Deepest nesting of an expression: the stack is finite.
pub const MAX_DEPTH: usize = 100;

/// A compiled expression. Clones share it.
#[derive(Clone, Debug)]
pub struct Sql92 {
    program: Arc<Program>,
}

#[derive(Debug)]
struct Program {
    /// The properties the condition asks for, sorted by name. It knows each by its place, a number below their count.
    places: Vec<(Box<str>, usize)>,
    condition: Condition,
}

impl Sql92 {
    /// Compiles an expression.
    ///
    /// # Errors
    /// When it is no condition by the rules above, or larger than the limits above.
    pub fn compile(expression: &str) -> Result<Self, SyntaxError> {
        let (places, condition) = parser::parse(expression)?;
        let mut places: Vec<(Box<str>, usize)> = places
            .into_iter()
            .map(|(name, place)| (name.into(), place))
            .collect();
        places.sort_unstable();
        Ok(Self {
            program: Arc::new(Program { places, condition }),
        })
    }

    /// Whether a message with this property string is wanted.
    pub fn matches(&self, properties: &str) -> bool {
        self.evaluate(properties) == Ok(Some(true))
    }

    /// The outcome: null is `None`.
    fn evaluate(&self, properties: &str) -> Result<Option<bool>, evaluate::Unreadable> {
        let values = evaluate::Values::of(&self.program.places, properties);
        evaluate::condition(&self.program.condition, &values)
    }
}

/// Why a text is no expression, and where.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{fault} at line {line}, column {column}")]
pub struct SyntaxError {
    fault: Fault,
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, Error, PartialEq)]
enum Fault {
    #[error("the expression has {0} bytes, {MAX_BYTES} are allowed:")]
    TooLong(usize),
    #[error("more than {MAX_OPERATORS} operators")]
    TooManyOperators,
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("unexpected character {0:?}")]
    Character(char),
    #[error("a text that does not end")]
    OpenText,
    #[error("encountered {found}, expected {expected}")]
    Unexpected { found: String, expected: &'static str },
    #[error("the number {0} is out of range")]
    Range(String),
    #[error("a condition is expected, this is neither true nor false")]
    NoCondition,
    #[error("`{operator}` compares numbers and properties, not {operand}")]
    NotOrdered {
        operator: &'static str,
        operand: &'static str,
    },
    #[error("`=` and `<>` do not compare with NULL, use IS NULL")]
    EqualNull,
    #[error("a boolean literal is not compared with a literal that is none")]
    EqualBoolean,
    #[error("the lower bound of BETWEEN is above the upper one")]
    EmptyRange,
    #[error("IN needs a property on its left")]
    InWithoutProperty,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = "i\u{1}5\u{2}d\u{1}2.5\u{2}s\u{1}abc\u{2}t\u{1}true\u{2}long\u{1}3000000000\u{2}";

    fn outcome(expression: &str) -> Result<Option<bool>, evaluate::Unreadable> {
        let compiled = Sql92::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        compiled.evaluate(MESSAGE)
    }

    fn assert_outcomes(expressions: &[&str], expected: Option<bool>) {
        for expression in expressions {
            assert_eq!(outcome(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn properties_are_read_as_what_they_are_compared_with() {
        assert_outcomes(
            &[
                "i = 5",
                "i > 4.5",
                "5 >= i",
                "d < 3.0",
                "s = 'abc'",
                "t = TRUE",
                "s = FALSE",
                "i > d",
                "long = 3000000000",
                "i BETWEEN 5 AND 6",
                "i NOT BETWEEN -3 AND 4",
                "s IN ('x', 'abc')",
                "s NOT IN ('x')",
                "s CONTAINS 'b' AND s STARTSWITH 'a' AND s ENDSWITH 'c'",
                "s NOT CONTAINS 'x' AND s NOT STARTSWITH 'b' AND s NOT ENDSWITH 'b'",
            ],
            Some(true),
        );
        assert_outcomes(
            &["i = 6", "i <> 5", "s = TRUE", "i = '5.0'", "s IN ('x')"],
            Some(false),
        );
        for unreadable in [
            "s > 1",
            "d = 2",
            "long > 5",
            "s < i",
            "TRUE = t",
            "i = 5 AND s > 1",
        ] {
            assert!(outcome(unreadable).is_err(), "{unreadable}");
        }
    }

    #[test]
    fn a_missing_property_is_null_and_null_is_not_wanted() {
        assert_outcomes(
            &[
                "x = 1",
                "x > 1",
                "NOT x = 1",
                "x IN ('a')",
                "x NOT IN ('a')",
                "x",
                "NULL",
                "-x = 1",
            ],
            None,
        );
        assert_outcomes(
            &[
                "x IS NULL",
                "s IS NOT NULL",
                "x = y",
                "x = 1 OR i = 5",
                "NOT (x = 1 AND i = 6)",
            ],
            Some(true),
        );
        assert_outcomes(
            &["x CONTAINS 'a'", "x NOT CONTAINS 'a'", "i = 6 AND x = 1", "s"],
            Some(false),
        );
        assert!(!Sql92::compile("x = 1").unwrap().matches(MESSAGE));
    }

    #[test]
    fn the_second_side_is_not_looked_at_when_the_first_decides() {
        assert_outcomes(&["i = 5 OR s > 1"], Some(true));
        assert_outcomes(&["i = 6 AND s > 1"], Some(false));
    }

    #[test]
    fn equality_binds_tighter_than_and_and_not_tighter_than_equality() {
        assert_outcomes(
            &["i = 6 AND i = 6 OR i = 5", "(NOT i) = TRUE", "NOT i = 5 = FALSE"],
            Some(true),
        );
        assert_outcomes(&["NOT i = 5", "i = 6 AND (i = 6 OR i = 5)"], Some(false));
    }

    #[test]
    fn of_a_repeated_property_the_last_counts() {
        let expression = Sql92::compile("a = 'y' AND b IS NULL").unwrap();
        assert!(expression.matches("a\u{1}x\u{2}b\u{1}\u{2}a\u{1}y\u{2}"));
    }

    #[test]
    fn an_error_says_what_is_wrong_and_where() {
        let cases = [
            ("", "encountered the end, expected a value at line 1, column 1"),
            ("a >", "encountered the end, expected a value at line 1, column 4"),
            (
                "a = 1 AND )",
                "encountered \")\", expected a value at line 1, column 11",
            ),
            (
                "(a = 1",
                "encountered the end, expected \")\" at line 1, column 7",
            ),
            (
                "a == 1",
                "encountered \"=\", expected a value at line 1, column 4",
            ),
            ("a = 1 #", "unexpected character '#' at line 1, column 7"),
            ("a = 'x", "a text that does not end at line 1, column 5"),
            (
                "a IN (1)",
                "encountered \"1\", expected a text at line 1, column 7",
            ),
            (
                "a IN ()",
                "encountered \")\", expected a text at line 1, column 7",
            ),
            (
                "1 IN ('a')",
                "IN needs a property on its left at line 1, column 3",
            ),
            (
                "a NOT 1",
                "encountered \"1\", expected BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH at line 1, column 7",
            ),
            (
                "a IS 1",
                "encountered \"1\", expected NULL or NOT NULL at line 1, column 6",
            ),
            (
                "a > 'x'",
                "`>` compares numbers and properties, not a text literal at line 1, column 3",
            ),
            (
                "a < TRUE",
                "`<` compares numbers and properties, not a condition at line 1, column 3",
            ),
            (
                "a = NULL",
                "`=` and `<>` do not compare with NULL, use IS NULL at line 1, column 3",
            ),
            (
                "TRUE = 1",
                "a boolean literal is not compared with a literal that is none at line 1, column 6",
            ),
            (
                "a BETWEEN 2 AND 1",
                "the lower bound of BETWEEN is above the upper one at line 1, column 3",
            ),
            (
                "a = 9223372036854775808",
                "the number 9223372036854775808 is out of range at line 1, column 5",
            ),
            ("a = 0.0", "the number 0.0 is out of range at line 1, column 5"),
            (
                "a = 1e999",
                "the number 1e999 is out of range at line 1, column 5",
            ),
            (
                "b\n AND 'x'",
                "a condition is expected, this is neither true nor false at line 2, column 6",
            ),
            (
                "5",
                "a condition is expected, this is neither true nor false at line 1, column 1",
            ),
        ];
        for (expression, expected) in cases {
            let error = Sql92::compile(expression).expect_err(expression);
            assert_eq!(error.to_string(), expected, "{expression}");
        }
    }

    #[test]
    fn what_follows_an_expression_is_not_looked_at() {
        for expression in ["a = 1 b ) § 'x", "a = 1)", "(a = 1) 5", "a = 1 -- no end"] {
            assert!(Sql92::compile(expression).is_ok(), "{expression}");
        }
    }

    #[test]
    fn hostile_expressions_end_at_a_limit() {
        let too_large = [
            format!("a = '{}'", "x".repeat(MAX_BYTES)),
            format!("{}a = 1", "(".repeat(10_000)),
            format!("{}a", "NOT ".repeat(10_000)),
            format!("a = {}1", "+-".repeat(10_000)),
            format!("a = 1{}", " OR a = 1".repeat(2_000)),
            format!("a{}", " = a".repeat(MAX_DEPTH + 1)),
            format!("a{}", " IS NULL".repeat(MAX_DEPTH + 1)),
            format!("a{}", " CONTAINS 'x'".repeat(MAX_DEPTH + 1)),
        ];
        for expression in too_large {
            assert!(Sql92::compile(&expression).is_err(), "{:.40}", expression);
        }
        let list: String = (0..5_000).map(|n| format!("'{n}', ")).collect();
        let wide = format!("a IN ({list}'last')");
        assert!(Sql92::compile(&wide).unwrap().matches("a\u{1}last\u{2}"));
        let deep = format!("{}a = 1{}", "(".repeat(MAX_DEPTH - 2), ")".repeat(MAX_DEPTH - 2));
        assert!(Sql92::compile(&deep).unwrap().matches("a\u{1}1\u{2}"));
        let long = format!("a = 1{}", " AND a = 1".repeat(MAX_OPERATORS / 2 - 1));
        assert!(Sql92::compile(&long).unwrap().matches("a\u{1}1\u{2}"));
    }

    /// Generated expressions, and what the reference makes of them: see `compat-tests`, SqlVectors.
    #[test]
    fn generated_expressions_have_the_outcomes_of_the_reference() {
        let vectors = include_str!("../../../tests/data/sql92-vectors.txt");
        let messages: Vec<String> = vectors
            .lines()
            .filter_map(|line| line.strip_prefix("m\t"))
            .map(|line| line.replace('=', "\u{1}").replace(';', "\u{2}"))
            .collect();
        let outcomes = |expression: &str| match Sql92::compile(expression) {
            Err(_) => "X".to_owned(),
            Ok(compiled) => messages
                .iter()
                .map(|message| match compiled.evaluate(message) {
                    Ok(Some(true)) => 'T',
                    Ok(Some(false)) => 'F',
                    Ok(None) => 'N',
                    Err(_) => 'E',
                })
                .collect(),
        };
        let mut compiled = 0;
        for line in vectors.lines().filter_map(|line| line.strip_prefix("e\t")) {
            let (expected, shown) = line.split_once('\t').expect("outcomes and expression");
            let expression = shown.replace("\\n", "\n").replace("\\t", "\t");
            assert_eq!(outcomes(&expression), expected, "{shown}");
            compiled += usize::from(expected != "X");
        }
        assert!(
            compiled >= 1_000 && messages.len() >= 40,
            "{compiled} x {}",
            messages.len()
        );
    }
}
