//! A parsed expression: what can be true, false or unknown, and what has a value.

/// Something with a value.
#[derive(Debug, PartialEq)]
pub(super) enum Operand {
    /// A property, by its place among those of the expression.
    Property(usize),
    /// A number or a text.
    Constant(Constant),
    /// `-` before something; null unless that is a number.
    Negated(Box<Operand>),
    /// A condition, whose value is a boolean or null.
    Condition(Box<Condition>),
}

/// A literal. `TRUE`, `FALSE` and `NULL` are conditions.
#[derive(Debug, PartialEq)]
pub(super) enum Constant {
    /// Java's `Integer`.
    Integer(i32),
    /// Java's `Long`: what does not fit into an `Integer`.
    Long(i64),
    /// Java's `Double`.
    Double(f64),
    /// A text.
    Text(Box<str>),
}

/// Something true, false or null, which is neither.
#[derive(Debug, PartialEq)]
pub(super) enum Condition {
    /// `TRUE`, `FALSE`, `NULL`.
    Constant(Option<bool>),
    /// A property that stands alone: false, or null without it. A text is no boolean.
    Bare(usize),
    /// `NOT`, and the other half of `<>` and `IS NOT NULL`.
    Not(Box<Condition>),
    /// `AND`, two or more.
    All(Vec<Condition>),
    /// `OR`, two or more.
    Any(Vec<Condition>),
    /// `=`.
    Equal(Operand, Operand),
    /// `<`, `<=`, `>`, `>=`. Neither side is a condition or a text literal.
    Ordered(Order, Operand, Operand),
    /// `BETWEEN`: the value, the lower and the upper bound. Its negation is of the bounds, not of the outcome.
    Between {
        value: Operand,
        low: Operand,
        high: Operand,
        negated: bool,
    },
    /// `IS NULL`.
    IsNull(Operand),
    /// `IN`, with the texts sorted.
    In {
        property: usize,
        texts: Box<[Box<str>]>,
        negated: bool,
    },
    /// `CONTAINS`, `STARTSWITH`, `ENDSWITH`: false for what is no text, negated or not.
    Text {
        relation: TextRelation,
        operand: Operand,
        search: Box<str>,
        negated: bool,
    },
}

/// What is asked of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is asked of two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextRelation {
    Contains,
    StartsWith,
    EndsWith,
}
