//! Reads types out of a [`Value`], with the coercions of fastjson2.
//!
//! | wanted | taken as well |
//! | --- | --- |
//! | number | its text, a fraction (cut off), a boolean |
//! | boolean | 1 and 0, their text, `"true"` and `"false"` in any case |
//! | string | a number or boolean; an object or array as its JSON text |
//! | enum | its name in any case, its ordinal |
//! | struct | fields in any order; of duplicates the last; null counts as missing |
//! | map | entries with a null value are dropped; keys are coerced like values, so `0` and `"0"` are one key |
//! | list | null elements are dropped |

use std::borrow::Cow;
use std::iter::Peekable;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::parse::{Value, parse_number};
use super::{Error, to_vec};

/// For enum fields: a name this version does not know becomes the default, where Java has null.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    // Taking the default is safe because a Value is whole before anything is read from it.
    Ok(T::deserialize(deserializer).unwrap_or_default())
}

impl<'de> Deserializer<'de> for &'de Value<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.to_bool().ok_or_else(|| self.is_no("boolean"))?)
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.to_integer().ok_or_else(|| self.is_no("integer"))?)
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_f64(self.to_float().ok_or_else(|| self.is_no("number"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Null => visitor.visit_str(""),
            Value::String(text) => visitor.visit_borrowed_str(text),
            other => visitor.visit_string(String::from_utf8_lossy(&to_vec(other)?).into_owned()),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let elements: &[Value<'_>] = match self {
            Value::Array(elements) => elements,
            Value::Null => &[],
            _ => return Err(self.is_no("array")),
        };
        visitor.visit_seq(Elements(elements.iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let entries = self.entries()?;
        let present = entries.iter().filter(|(_, value)| *value != Value::Null);
        visitor.visit_map(Entries {
            rest: present.peekable(),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_map(Fields {
            names: fields.iter(),
            entries: self.entries()?,
            value: &Value::Null,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = match self {
            Value::String(text) => variants.iter().find(|variant| variant.eq_ignore_ascii_case(text)),
            _ => None,
        };
        let variant = variant.or_else(|| variants.get(usize::try_from(self.to_integer()?).ok()?));
        match variant {
            Some(variant) => visitor.visit_enum((*variant).into_deserializer()),
            None => Err(self.is_no(name)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { char bytes byte_buf unit_struct tuple tuple_struct identifier }
}

impl Value<'_> {
    fn entries(&self) -> Result<&[(Value<'_>, Value<'_>)], Error> {
        match self {
            Value::Object(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            _ => Err(self.is_no("object")),
        }
    }

    fn to_bool(&self) -> Option<bool> {
        match self {
            Value::Null => Some(false),
            Value::Bool(value) => Some(*value),
            Value::Integer(value) => Some(*value == 1),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" | "" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    fn to_integer(&self) -> Option<i64> {
        match self {
            Value::Null => Some(0),
            Value::Bool(value) => Some(i64::from(*value)),
            Value::Integer(value) => Some(*value),
            Value::Float(value) => (value.abs() < i64::MAX as f64).then_some(*value as i64),
            Value::String(text) => parse_number(text)?.to_integer(),
            Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn to_float(&self) -> Option<f64> {
        match self {
            Value::Float(value) => Some(*value),
            Value::String(text) => parse_number(text)?.to_float(),
            other => other.to_integer().map(|value| value as f64),
        }
    }

    fn is_no(&self, wanted: &str) -> Error {
        let found: Cow<'_, str> = match self {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string().into(),
            Value::Integer(value) => value.to_string().into(),
            Value::Float(value) => value.to_string().into(),
            Value::String(text) => format!("string {:?}", text.chars().take(64).collect::<String>()).into(),
            Value::Array(_) => "an array".into(),
            Value::Object(_) => "an object".into(),
        };
        de::Error::custom(format_args!("{wanted} expected, found {found}"))
    }
}

struct Elements<'de>(std::slice::Iter<'de, Value<'de>>);

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let element = self.0.find(|element| **element != Value::Null);
        element.map(|element| seed.deserialize(element)).transpose()
    }
}

/// The entries of a map, in their order; the map itself lets later duplicates win.
struct Entries<'de, I: Iterator<Item = &'de (Value<'de>, Value<'de>)>> {
    rest: Peekable<I>,
}

impl<'de, I: Iterator<Item = &'de (Value<'de>, Value<'de>)>> MapAccess<'de> for Entries<'de, I> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.rest.peek().map(|(key, _)| seed.deserialize(key)).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (_, value) = self
            .rest
            .next()
            .ok_or_else(|| de::Error::custom("value asked for before its key"))?;
        seed.deserialize(value)
    }
}

/// The fields of a struct, found by name: what derived code would refuse (duplicates, nulls) never reaches it.
struct Fields<'de> {
    names: std::slice::Iter<'static, &'static str>,
    entries: &'de [(Value<'de>, Value<'de>)],
    value: &'de Value<'de>,
}

impl<'de> MapAccess<'de> for Fields<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        for name in self.names.by_ref() {
            let is_named =
                |(key, _): &&(Value<'_>, Value<'_>)| matches!(key, Value::String(text) if text == name);
            if let Some((_, value)) = self.entries.iter().rfind(is_named)
                && *value != Value::Null
            {
                self.value = value;
                let name: StrDeserializer<'_, Error> = (*name).into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.value)
    }
}
