//! Words to a condition, by recursive descent: one function a row of the table in `mod.rs`, loosest first.
//!
//! What the reference refuses when it compiles is refused here: operands that a comparison does not take, numbers out of range.

use std::collections::HashMap;

use super::ast::{Condition, Constant, Operand, Order, TextRelation};
use super::lexer::{Keyword, Lexer, Token};
use super::{Fault, MAX_BYTES, MAX_DEPTH, MAX_OPERATORS, SyntaxError, evaluate};

/// Parses an expression into the places of its properties and its condition.
pub(super) fn parse(expression: &str) -> Result<(HashMap<&str, usize>, Condition), SyntaxError> {
    let mut lexer = Lexer::new(expression);
    if expression.len() > MAX_BYTES {
        return Err(lexer.error(0, Fault::TooLong(expression.len())));
    }
    let (token, at) = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        at,
        depth: 0,
        operators: 0,
        places: HashMap::new(),
    };
    let whole = parser.or()?;
    let condition = parser.condition(whole, at)?;
    Ok((parser.places, condition))
}

/// The words so far, and the next one.
struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next word and where it begins.
    token: Token<'a>,
    at: usize,
    depth: usize,
    operators: usize,
    places: HashMap<&'a str, usize>,
}

type Parsed<T> = Result<T, SyntaxError>;

impl<'a> Parser<'a> {
    fn or(&mut self) -> Parsed<Operand> {
        self.chain(Keyword::Or, Condition::Any, Self::and)
    }

    fn and(&mut self) -> Parsed<Operand> {
        self.chain(Keyword::And, Condition::All, Self::equality)
    }

    /// Operands joined by one keyword, each a condition if there are several.
    fn chain(
        &mut self,
        keyword: Keyword,
        join: fn(Vec<Condition>) -> Condition,
        operand: fn(&mut Self) -> Parsed<Operand>,
    ) -> Parsed<Operand> {
        let mut at = self.at;
        let first = operand(self)?;
        if self.token != Token::Keyword(keyword) {
            return Ok(first);
        }
        let mut conditions = vec![self.condition(first, at)?];
        while self.take_keyword(keyword)? {
            self.count_operator()?;
            at = self.at;
            let next = operand(self)?;
            conditions.push(self.condition(next, at)?);
        }
        Ok(join(conditions).into())
    }

    fn equality(&mut self) -> Parsed<Operand> {
        let depth = self.depth;
        let mut left = self.comparison()?;
        loop {
            let at = self.at;
            left = match self.token {
                Token::Symbol("=") => self.equal(left, at)?.into(),
                Token::Symbol("<>") => Condition::Not(Box::new(self.equal(left, at)?)).into(),
                Token::Keyword(Keyword::Is) => self.is_null(left)?.into(),
                _ => break,
            };
            // The tree grows to the left without a deeper call.
            self.descend(at)?;
        }
        self.depth = depth;
        Ok(left)
    }

    fn equal(&mut self, left: Operand, at: usize) -> Parsed<Condition> {
        self.advance()?;
        self.count_operator()?;
        let right = self.comparison()?;
        if is_null(&left) || is_null(&right) {
            return Err(self.lexer.error(at, Fault::EqualNull));
        }
        if is_boolean(&left) && matches!(right, Operand::Constant(_)) {
            return Err(self.lexer.error(at, Fault::EqualBoolean));
        }
        Ok(Condition::Equal(left, right))
    }

    fn is_null(&mut self, operand: Operand) -> Parsed<Condition> {
        self.advance()?;
        self.count_operator()?;
        let negated = self.take_keyword(Keyword::Not)?;
        if !self.take_keyword(Keyword::Null)? {
            return Err(self.unexpected(if negated { "NULL" } else { "NULL or NOT NULL" }));
        }
        let condition = Condition::IsNull(operand);
        Ok(match negated {
            true => Condition::Not(Box::new(condition)),
            false => condition,
        })
    }

    fn comparison(&mut self) -> Parsed<Operand> {
        let depth = self.depth;
        let mut left = self.unary()?;
        loop {
            let at = self.at;
            let order = match self.token {
                Token::Symbol("<") => Some((Order::Less, "<")),
                Token::Symbol("<=") => Some((Order::LessOrEqual, "<=")),
                Token::Symbol(">") => Some((Order::Greater, ">")),
                Token::Symbol(">=") => Some((Order::GreaterOrEqual, ">=")),
                _ => None,
            };
            left = match (order, &self.token) {
                (Some((order, operator)), _) => self.ordered(left, order, operator, at)?.into(),
                (None, Token::Keyword(Keyword::Not)) => {
                    self.advance()?;
                    self.word(left, true, at)?.into()
                }
                (None, token) if is_comparing_word(token) => self.word(left, false, at)?.into(),
                _ => break,
            };
            self.descend(at)?;
        }
        self.depth = depth;
        Ok(left)
    }

    fn ordered(
        &mut self,
        left: Operand,
        order: Order,
        operator: &'static str,
        at: usize,
    ) -> Parsed<Condition> {
        self.advance()?;
        self.count_operator()?;
        let right = self.unary()?;
        self.require_ordered(&left, operator, at)?;
        self.require_ordered(&right, operator, at)?;
        Ok(Condition::Ordered(order, left, right))
    }

    /// A comparison that is written as a word, perhaps behind NOT.
    fn word(&mut self, left: Operand, negated: bool, at: usize) -> Parsed<Condition> {
        let Token::Keyword(word) = self.token else {
            return Err(self.unexpected(WORDS));
        };
        let relation = match word {
            Keyword::Between => return self.between(left, negated, at),
            Keyword::In => return self.in_list(left, negated, at),
            Keyword::Contains => TextRelation::Contains,
            Keyword::StartsWith => TextRelation::StartsWith,
            Keyword::EndsWith => TextRelation::EndsWith,
            _ => return Err(self.unexpected(WORDS)),
        };
        self.advance()?;
        self.count_operator()?;
        Ok(Condition::Text {
            relation,
            operand: left,
            search: self.text()?,
            negated,
        })
    }

    fn between(&mut self, value: Operand, negated: bool, at: usize) -> Parsed<Condition> {
        self.advance()?;
        self.count_operator()?;
        let low = self.unary()?;
        if !self.take_keyword(Keyword::And)? {
            return Err(self.unexpected("AND"));
        }
        let high = self.unary()?;
        for operand in [&value, &low, &high] {
            self.require_ordered(operand, "BETWEEN", at)?;
        }
        if let (Operand::Constant(low), Operand::Constant(high)) = (&low, &high)
            && !negated
            && evaluate::is_above(low, high)
        {
            return Err(self.lexer.error(at, Fault::EmptyRange));
        }
        Ok(Condition::Between {
            value,
            low,
            high,
            negated,
        })
    }

    fn in_list(&mut self, left: Operand, negated: bool, at: usize) -> Parsed<Condition> {
        self.advance()?;
        self.count_operator()?;
        self.expect("(", "\"(\"")?;
        let mut texts = vec![self.text()?];
        while self.token == Token::Symbol(",") {
            self.advance()?;
            texts.push(self.text()?);
        }
        self.expect(")", "\",\" or \")\"")?;
        let Operand::Property(property) = left else {
            return Err(self.lexer.error(at, Fault::InWithoutProperty));
        };
        texts.sort_unstable();
        texts.dedup();
        Ok(Condition::In {
            property,
            texts: texts.into(),
            negated,
        })
    }

    fn unary(&mut self) -> Parsed<Operand> {
        let at = self.at;
        self.descend(at)?;
        let operand = match self.token {
            Token::Symbol("+") => {
                self.advance()?;
                self.unary()?
            }
            Token::Symbol("-") => {
                self.advance()?;
                self.count_operator()?;
                Operand::Negated(Box::new(self.unary()?))
            }
            Token::Keyword(Keyword::Not) => {
                self.advance()?;
                self.count_operator()?;
                let at = self.at;
                let operand = self.unary()?;
                Condition::Not(Box::new(self.condition(operand, at)?)).into()
            }
            _ => self.primary()?,
        };
        self.depth -= 1;
        Ok(operand)
    }

    fn primary(&mut self) -> Parsed<Operand> {
        let at = self.at;
        let operand = match std::mem::replace(&mut self.token, Token::End) {
            Token::Symbol("(") => {
                self.advance()?;
                let inner = self.or()?;
                self.expect(")", "\")\"")?;
                return Ok(inner);
            }
            Token::Name(name) => self.property(name),
            Token::Text(text) => Operand::Constant(Constant::Text(text.into())),
            Token::Integer(digits) => Operand::Constant(self.integer(digits, at)?),
            Token::Decimal(digits) => Operand::Constant(self.decimal(digits, at)?),
            Token::Keyword(Keyword::True) => Condition::Constant(Some(true)).into(),
            Token::Keyword(Keyword::False) => Condition::Constant(Some(false)).into(),
            Token::Keyword(Keyword::Null) => Condition::Constant(None).into(),
            other => {
                self.token = other;
                return Err(self.unexpected("a value"));
            }
        };
        self.advance()?;
        Ok(operand)
    }

    fn property(&mut self, name: &'a str) -> Operand {
        let next = self.places.len();
        Operand::Property(*self.places.entry(name).or_insert(next))
    }

    /// Java's `Integer` if it fits, else its `Long`.
    fn integer(&self, digits: &str, at: usize) -> Parsed<Constant> {
        let value: i64 = digits
            .parse()
            .map_err(|_| self.lexer.error(at, Fault::Range(digits.to_owned())))?;
        Ok(i32::try_from(value).map_or(Constant::Long(value), Constant::Integer))
    }

    /// Java's `Double`. The reference takes the smallest positive one for the smallest, which leaves out zero.
    fn decimal(&self, digits: &str, at: usize) -> Parsed<Constant> {
        match digits.parse::<f64>() {
            Ok(value) if value.is_finite() && value > 0.0 => Ok(Constant::Double(value)),
            _ => Err(self.lexer.error(at, Fault::Range(digits.to_owned()))),
        }
    }

    fn text(&mut self) -> Parsed<Box<str>> {
        match std::mem::replace(&mut self.token, Token::End) {
            Token::Text(text) => {
                self.advance()?;
                Ok(text.into())
            }
            other => {
                self.token = other;
                Err(self.unexpected("a text"))
            }
        }
    }

    /// What stands at `at`, as something true or false.
    fn condition(&self, operand: Operand, at: usize) -> Parsed<Condition> {
        match operand {
            Operand::Condition(condition) => Ok(*condition),
            Operand::Property(property) => Ok(Condition::Bare(property)),
            Operand::Constant(_) | Operand::Negated(_) => Err(self.lexer.error(at, Fault::NoCondition)),
        }
    }

    fn require_ordered(&self, operand: &Operand, operator: &'static str, at: usize) -> Parsed<()> {
        let operand = match operand {
            Operand::Constant(Constant::Text(_)) => "a text literal",
            Operand::Condition(_) => "a condition",
            _ => return Ok(()),
        };
        Err(self.lexer.error(at, Fault::NotOrdered { operator, operand }))
    }

    fn advance(&mut self) -> Parsed<()> {
        (self.token, self.at) = self.lexer.next()?;
        Ok(())
    }

    fn take_keyword(&mut self, keyword: Keyword) -> Parsed<bool> {
        let is_next = self.token == Token::Keyword(keyword);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn expect(&mut self, symbol: &'static str, expected: &'static str) -> Parsed<()> {
        if self.token != Token::Symbol(symbol) {
            return Err(self.unexpected(expected));
        }
        self.advance()
    }

    fn descend(&mut self, at: usize) -> Parsed<()> {
        self.depth += 1;
        match self.depth <= MAX_DEPTH {
            true => Ok(()),
            false => Err(self.lexer.error(at, Fault::TooDeep)),
        }
    }

    fn count_operator(&mut self) -> Parsed<()> {
        self.operators += 1;
        match self.operators <= MAX_OPERATORS {
            true => Ok(()),
            false => Err(self.lexer.error(self.at, Fault::TooManyOperators)),
        }
    }

    fn unexpected(&self, expected: &'static str) -> SyntaxError {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            Token::Name(word) | Token::Integer(word) | Token::Decimal(word) => format!("\"{word}\""),
            Token::Symbol(symbol) => format!("\"{symbol}\""),
            Token::Keyword(keyword) => format!("{keyword:?}").to_uppercase(),
            Token::Text(_) => "a text".to_owned(),
        };
        self.lexer.error(self.at, Fault::Unexpected { found, expected })
    }
}

const WORDS: &str = "BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH";

fn is_comparing_word(token: &Token<'_>) -> bool {
    use Keyword::{Between, Contains, EndsWith, In, StartsWith};
    matches!(
        token,
        Token::Keyword(Between | In | Contains | StartsWith | EndsWith)
    )
}

fn is_null(operand: &Operand) -> bool {
    matches!(operand, Operand::Condition(condition) if **condition == Condition::Constant(None))
}

fn is_boolean(operand: &Operand) -> bool {
    matches!(operand, Operand::Condition(condition) if matches!(**condition, Condition::Constant(Some(_))))
}

impl From<Condition> for Operand {
    fn from(condition: Condition) -> Self {
        Operand::Condition(Box::new(condition))
    }
}
