//! Conditions worked out for one message, by Java's rules for comparing a `Boolean`, an `Integer`, a `Long`, a `Double` and a `String`.

use std::cmp::Ordering;

use common::message::properties;
use smallvec::SmallVec;

use super::ast::{Condition, Constant, Operand, Order, TextRelation};
use super::number;

/// A value could not be read as what it is compared with: the expression has no outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

type Outcome = Result<Option<bool>, Unreadable>;

/// What the expression's properties are in one message.
pub(super) struct Values<'a>(SmallVec<[Option<&'a str>; 8]>);

impl<'a> Values<'a> {
    /// Finds them in a property string, in one pass. `places` is sorted by name. Of a repeated property the last counts.
    pub(super) fn of(places: &[(Box<str>, usize)], text: &'a str) -> Self {
        let mut values = SmallVec::from_elem(None, places.len());
        for (name, value) in properties::iter(text) {
            if let Ok(found) = places.binary_search_by(|(wanted, _)| (**wanted).cmp(name)) {
                values[places[found].1] = Some(value);
            }
        }
        Values(values)
    }
}

/// The value of an operand.
#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Null,
    Boolean(bool),
    Integer(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// Works a condition out.
pub(super) fn condition<'a>(condition: &'a Condition, values: &Values<'a>) -> Outcome {
    match condition {
        Condition::Constant(value) => Ok(*value),
        Condition::Bare(property) => Ok(values.0[*property].map(|_| false)),
        Condition::Not(inner) => Ok(self::condition(inner, values)?.map(|inner| !inner)),
        Condition::All(conditions) => until(false, conditions, |inner| self::condition(inner, values)),
        Condition::Any(conditions) => until(true, conditions, |inner| self::condition(inner, values)),
        Condition::Equal(left, right) => equal(operand(left, values)?, operand(right, values)?),
        Condition::Ordered(order, left, right) => ordered(*order, left, right, values),
        Condition::Between {
            value,
            low,
            high,
            negated: false,
        } => until(
            false,
            [(Order::GreaterOrEqual, low), (Order::LessOrEqual, high)],
            |(order, bound)| ordered(order, value, bound, values),
        ),
        Condition::Between {
            value,
            low,
            high,
            negated: true,
        } => until(
            true,
            [(Order::Less, low), (Order::Greater, high)],
            |(order, bound)| ordered(order, value, bound, values),
        ),
        Condition::IsNull(inner) => Ok(Some(matches!(operand(inner, values)?, Value::Null))),
        Condition::In {
            property,
            texts,
            negated,
        } => Ok(values.0[*property].map(|value| contains(texts, value) != *negated)),
        // An empty text is found nowhere, and what would be searched is not even worked out.
        Condition::Text { search, .. } if search.is_empty() => Ok(Some(false)),
        Condition::Text {
            relation,
            operand: inner,
            search,
            negated,
        } => Ok(Some(match operand(inner, values)? {
            Value::Text(text) => relation.holds(text, search) != *negated,
            _ => false,
        })),
    }
}

/// AND with `decisive` false, OR with true: the first decisive outcome is the whole one; without one, null if any is null.
fn until<T>(
    decisive: bool,
    conditions: impl IntoIterator<Item = T>,
    mut outcome: impl FnMut(T) -> Outcome,
) -> Outcome {
    let mut whole = Some(!decisive);
    for condition in conditions {
        match outcome(condition)? {
            Some(found) if found == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => whole = None,
        }
    }
    Ok(whole)
}

fn operand<'a>(operand: &'a Operand, values: &Values<'a>) -> Result<Value<'a>, Unreadable> {
    Ok(match operand {
        Operand::Property(property) => values.0[*property].map_or(Value::Null, Value::Text),
        Operand::Constant(constant) => constant.into(),
        Operand::Negated(inner) => self::operand(inner, values)?.negated(),
        Operand::Condition(inner) => condition(inner, values)?.map_or(Value::Null, Value::Boolean),
    })
}

impl<'a> From<&'a Constant> for Value<'a> {
    fn from(constant: &'a Constant) -> Self {
        match constant {
            Constant::Integer(value) => Value::Integer(*value),
            Constant::Long(value) => Value::Long(*value),
            Constant::Double(value) => Value::Double(*value),
            Constant::Text(text) => Value::Text(text),
        }
    }
}

impl Value<'_> {
    fn negated(self) -> Self {
        match self {
            Value::Integer(value) => Value::Integer(value.wrapping_neg()),
            Value::Long(value) => Value::Long(value.wrapping_neg()),
            Value::Double(value) => Value::Double(-value),
            Value::Null | Value::Boolean(_) | Value::Text(_) => Value::Null,
        }
    }
}

/// Two missing values are equal; only the left one missing leaves it open; only the right one does not.
fn equal(left: Value<'_>, right: Value<'_>) -> Outcome {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => Some(true),
        (Value::Null, _) => None,
        (_, Value::Null) => Some(false),
        _ => Some(compare(left, right)? == Some(Ordering::Equal)),
    })
}

fn ordered<'a>(order: Order, left: &'a Operand, right: &'a Operand, values: &Values<'a>) -> Outcome {
    let left = operand(left, values)?;
    if matches!(left, Value::Null) {
        return Ok(None);
    }
    let ordering = match (left, operand(right, values)?) {
        (_, Value::Null) => return Ok(None),
        (Value::Text(left), Value::Text(right)) => doubles(double(left)?, double(right)?),
        (left, right) => compare(left, right)?,
    };
    Ok(Some(ordering.is_some_and(|ordering| order.holds(ordering))))
}

/// Compares values that are not null; those of types that have no order are `None`.
///
/// Reference: `ComparisonExpression.__compare`. A boolean on the left of a text fails there, by a cast; on its right it does not.
fn compare(left: Value<'_>, right: Value<'_>) -> Result<Option<Ordering>, Unreadable> {
    use Value::{Boolean, Double, Integer, Long, Null, Text};
    Ok(match (left, right) {
        (Text(left), Text(right)) => Some(left.cmp(right)),
        (Text(left), Boolean(right)) => Some(number::boolean(left).cmp(&right)),
        (Text(left), Integer(right)) => Some(integer::<i32>(left)?.cmp(&right)),
        (Text(left), Long(right)) => Some(integer::<i64>(left)?.cmp(&right)),
        (Text(left), Double(right)) => doubles(double(left)?, right),

        (Boolean(left), Boolean(right)) => Some(left.cmp(&right)),
        (Boolean(_), Text(_)) => return Err(Unreadable),

        (Integer(left), Text(right)) => Some(left.cmp(&integer(right)?)),
        (Integer(left), Integer(right)) => Some(left.cmp(&right)),
        (Integer(left), Long(right)) => Some(i64::from(left).cmp(&right)),
        (Integer(left), Double(right)) => doubles(f64::from(left), right),

        (Long(left), Text(right)) => Some(left.cmp(&integer(right)?)),
        (Long(left), Integer(right)) => Some(left.cmp(&i64::from(right))),
        (Long(left), Long(right)) => Some(left.cmp(&right)),
        (Long(left), Double(right)) => doubles(left as f64, right),

        (Double(left), Text(right)) => doubles(left, double(right)?),
        (Double(left), Integer(right)) => doubles(left, f64::from(right)),
        (Double(left), Long(right)) => doubles(left, right as f64),
        (Double(left), Double(right)) => doubles(left, right),

        (Boolean(_), Integer(_) | Long(_) | Double(_)) | (Integer(_) | Long(_) | Double(_), Boolean(_)) => {
            None
        }
        (Null, _) | (_, Null) => None,
    })
}

/// Whether a lower bound lies above the upper one. Both are numbers.
pub(super) fn is_above(low: &Constant, high: &Constant) -> bool {
    compare(low.into(), high.into()) == Ok(Some(Ordering::Greater))
}

/// Reference: `Double.compareTo`, which has a place for each number: -0.0 is below 0.0, NaN above all.
fn doubles(left: f64, right: f64) -> Option<Ordering> {
    Some(left.total_cmp(&right))
}

fn integer<T: std::str::FromStr>(text: &str) -> Result<T, Unreadable> {
    number::integer(text).ok_or(Unreadable)
}

fn double(text: &str) -> Result<f64, Unreadable> {
    number::double(text).ok_or(Unreadable)
}

fn contains(sorted: &[Box<str>], text: &str) -> bool {
    sorted
        .binary_search_by(|candidate| (**candidate).cmp(text))
        .is_ok()
}

impl Order {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Order::Less => ordering.is_lt(),
            Order::LessOrEqual => ordering.is_le(),
            Order::Greater => ordering.is_gt(),
            Order::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl TextRelation {
    fn holds(self, text: &str, search: &str) -> bool {
        match self {
            TextRelation::Contains => text.contains(search),
            TextRelation::StartsWith => text.starts_with(search),
            TextRelation::EndsWith => text.ends_with(search),
        }
    }
}
