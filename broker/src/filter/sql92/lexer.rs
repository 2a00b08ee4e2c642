//! Words of an expression, read one at a time.
//!
//! What follows a complete expression is never read, as in the reference, so a mistake there is none.
//! The longest word wins; names are ASCII, keywords have no case. Reference: the tokens of `SelectorParser.jj`.

use std::borrow::Cow;

use super::{Fault, SyntaxError};

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// The text is over.
    End,
    /// The name of a property.
    Name(&'a str),
    /// A keyword, in capitals.
    Keyword(Keyword),
    /// `'text'`, without its quotes.
    Text(Cow<'a, str>),
    /// Digits, without the `L` that may follow them.
    Integer(&'a str),
    /// A number with a dot or an exponent.
    Decimal(&'a str),
    /// `=`, `<>`, `<`, `<=`, `>`, `>=`, `(`, `)`, `,`, `+`, `-`.
    Symbol(&'static str),
}

macro_rules! keywords {
    ($($name:ident = $text:literal;)*) => {
        /// A reserved word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Keyword { $($name),* }

        impl Keyword {
            fn of(word: &str) -> Option<Self> {
                $(if word.eq_ignore_ascii_case($text) { return Some(Keyword::$name); })*
                None
            }
        }
    };
}

keywords! {
    Not = "NOT";
    And = "AND";
    Or = "OR";
    Between = "BETWEEN";
    In = "IN";
    True = "TRUE";
    False = "FALSE";
    Null = "NULL";
    Is = "IS";
    Contains = "CONTAINS";
    StartsWith = "STARTSWITH";
    EndsWith = "ENDSWITH";
}

/// Longer ones first.
const SYMBOLS: [&str; 11] = ["<>", "<=", ">=", "=", "<", ">", "(", ")", ",", "+", "-"];

/// Reads words from the beginning of a text on.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next word and where it begins, in bytes.
    pub(super) fn next(&mut self) -> Result<(Token<'a>, usize), SyntaxError> {
        self.skip_blanks();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else {
            return Ok((Token::End, start));
        };
        let (token, length) = match first {
            '\'' => self.quoted()?,
            '0'..='9' => self.number(),
            '.' => self.fraction()?,
            'a'..='z' | 'A'..='Z' | '_' | '$' => self.word(),
            _ => self.symbol()?,
        };
        self.at += length;
        Ok((token, start))
    }

    /// An error at a place in the text.
    pub(super) fn error(&self, at: usize, fault: Fault) -> SyntaxError {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SyntaxError {
            fault,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']).len();
            let skipped = match blank {
                0 => comment_length(rest),
                blank => blank,
            };
            if skipped == 0 {
                return;
            }
            self.at += skipped;
        }
    }

    /// Two quotes in a row stand for one.
    fn quoted(&self) -> Result<(Token<'a>, usize), SyntaxError> {
        let rest = self.rest();
        let mut from = 1;
        while let Some(quote) = rest[from..].find('\'').map(|found| from + found) {
            if !rest[quote + 1..].starts_with('\'') {
                let inner = &rest[1..quote];
                let text = match inner.contains('\'') {
                    true => Cow::Owned(inner.replace("''", "'")),
                    false => Cow::Borrowed(inner),
                };
                return Ok((Token::Text(text), quote + 1));
            }
            from = quote + 2;
        }
        Err(self.error(self.at, Fault::OpenText))
    }

    /// An integer is `0`, or has no leading zero: `012` is `0` and `12`.
    fn number(&self) -> (Token<'a>, usize) {
        let rest = self.rest();
        let digits = digits_length(rest);
        let after = &rest[digits..];
        if let Some(fraction) = after.strip_prefix('.') {
            let mut length = digits + 1 + digits_length(fraction);
            length += exponent_length(&rest[length..]);
            return (Token::Decimal(&rest[..length]), length);
        }
        match exponent_length(after) {
            0 if rest.starts_with('0') => (Token::Integer(&rest[..1]), 1),
            0 => {
                let suffix = usize::from(after.starts_with(['l', 'L']));
                (Token::Integer(&rest[..digits]), digits + suffix)
            }
            exponent => (Token::Decimal(&rest[..digits + exponent]), digits + exponent),
        }
    }

    /// A number that begins with its dot.
    fn fraction(&self) -> Result<(Token<'a>, usize), SyntaxError> {
        let rest = self.rest();
        let digits = digits_length(&rest[1..]);
        if digits == 0 {
            return Err(self.error(self.at, Fault::Character('.')));
        }
        let length = 1 + digits + exponent_length(&rest[1 + digits..]);
        Ok((Token::Decimal(&rest[..length]), length))
    }

    fn word(&self) -> (Token<'a>, usize) {
        let rest = self.rest();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        let token = Keyword::of(word).map_or(Token::Name(word), Token::Keyword);
        (token, word.len())
    }

    fn symbol(&self) -> Result<(Token<'a>, usize), SyntaxError> {
        let rest = self.rest();
        match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            Some(symbol) => Ok((Token::Symbol(symbol), symbol.len())),
            None => {
                let unknown = rest.chars().next().unwrap_or_default();
                Err(self.error(self.at, Fault::Character(unknown)))
            }
        }
    }
}

fn digits_length(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Length of `E`, a sign and digits; 0 when that is not what comes.
fn exponent_length(text: &str) -> usize {
    let Some(power) = text.strip_prefix(['e', 'E']) else {
        return 0;
    };
    let unsigned = power.strip_prefix(['+', '-']).unwrap_or(power);
    match digits_length(unsigned) {
        0 => 0,
        digits => text.len() - unsigned.len() + digits,
    }
}

/// `-- to the end of the line`, which must end, or `/* this */`; 0 when no comment begins here.
fn comment_length(text: &str) -> usize {
    let line_end = |rest: &str| rest.find(['\n', '\r']).map(|found| found + 3);
    let length = match (text.strip_prefix("--"), text.strip_prefix("/*")) {
        (Some(rest), _) => line_end(rest),
        (_, Some(rest)) => rest.find("*/").map(|found| found + 4),
        _ => None,
    };
    length.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(text);
        let mut words = Vec::new();
        loop {
            match lexer.next().unwrap() {
                (Token::End, _) => return words,
                (word, _) => words.push(word),
            }
        }
    }

    #[test]
    fn the_longest_word_wins() {
        use Token::{Decimal, Integer, Name, Symbol};
        let cases: [(&str, &[Token<'_>]); 12] = [
            ("a<>b", &[Name("a"), Symbol("<>"), Name("b")]),
            ("a<=-1", &[Name("a"), Symbol("<="), Symbol("-"), Integer("1")]),
            ("012", &[Integer("0"), Integer("12")]),
            ("0L", &[Integer("0"), Name("L")]),
            ("12l5", &[Integer("12"), Integer("5")]),
            ("1e", &[Integer("1"), Name("e")]),
            ("1e-2", &[Decimal("1e-2")]),
            ("5.", &[Decimal("5.")]),
            ("5.5.5", &[Decimal("5.5"), Decimal(".5")]),
            ("00.5E+1x", &[Decimal("00.5E+1"), Name("x")]),
            ("INX", &[Name("INX")]),
            ("iN $_9", &[Token::Keyword(Keyword::In), Name("$_9")]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn two_quotes_are_one_in_a_text() {
        assert_eq!(words("'it''s'"), [Token::Text("it's".into())]);
        assert_eq!(words("''"), [Token::Text("".into())]);
        assert_eq!(words("''''"), [Token::Text("'".into())]);
        assert_eq!(words("'a' 'b'").len(), 2);
        assert!(Lexer::new("'a''").next().is_err());
    }

    #[test]
    fn comments_are_blank() {
        assert_eq!(words("a/* b **/c -- d\r\n--\ne"), words("a c e"));
        assert_eq!(words("--1").len(), 3, "a line that does not end is no comment");
        assert_eq!(words("/**/"), []);
    }

    #[test]
    fn an_error_knows_its_line_and_column() {
        let mut lexer = Lexer::new("ä /*\n*/ §");
        let error = loop {
            if let Err(error) = lexer.next() {
                break error;
            }
        };
        assert_eq!((error.line, error.column), (1, 1));

        let mut lexer = Lexer::new("a\n = §");
        lexer.next().unwrap();
        lexer.next().unwrap();
        let error = lexer.next().unwrap_err();
        assert_eq!((error.line, error.column), (2, 4));
        assert_eq!(error.fault, Fault::Character('§'));
    }
}
