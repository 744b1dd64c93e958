//! From the values of a pickle to serde's.

use std::slice;

use serde::de::value::SeqDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::PickleError;
use super::scalar::Wide;
use super::tree::{Id, Tree, What};

/// One value of a tree.
#[derive(Clone, Copy)]
pub(super) struct Value<'t, 'm> {
    tree: &'t Tree<'m>,
    id: Id,
}

impl<'t, 'm> Value<'t, 'm> {
    pub(super) fn new(tree: &'t Tree<'m>, id: Id) -> Value<'t, 'm> {
        Value { tree, id }
    }

    fn what(self) -> &'t What<'m> {
        self.tree.what(self.id)
    }

    fn unexpected(self) -> Unexpected<'t> {
        match self.what() {
            What::None => Unexpected::Other("None"),
            What::Bool(bool) => Unexpected::Bool(*bool),
            What::Int(int) => Unexpected::Signed(*int),
            What::Wide(_) => Unexpected::Other("an int of more than 64 bits"),
            What::Float(float) => Unexpected::Float(*float),
            What::Str(text) => Unexpected::Str(text),
            What::Bytes(_) => Unexpected::Other("bytes"),
            What::Items(..) => Unexpected::Other("a list, tuple or set"),
            What::Entries(_) => Unexpected::Other("a dict"),
            What::Function(_) => Unexpected::Other("a function"),
        }
    }

    fn wrong<T>(self, expected: &'static str) -> Result<T, PickleError> {
        Err(PickleError::invalid_type(self.unexpected(), &expected))
    }
}

fn all_items<'de, V: Visitor<'de>>(
    tree: &Tree<'_>,
    ids: &[Id],
    visitor: V,
) -> Result<V::Value, PickleError> {
    let mut items = Items {
        tree,
        rest: ids.iter(),
    };
    let value = visitor.visit_seq(&mut items)?;
    match items.rest.len() {
        0 => Ok(value),
        left => Err(PickleError::invalid_length(
            ids.len(),
            &&*format!("{} items", ids.len() - left),
        )),
    }
}

impl<'de> Deserializer<'de> for Value<'_, '_> {
    type Error = PickleError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PickleError> {
        match self.what() {
            What::None => visitor.visit_unit(),
            What::Bool(bool) => visitor.visit_bool(*bool),
            What::Int(int) => visitor.visit_i64(*int),
            What::Wide(wide) => match **wide {
                Wide::Signed(int) => match u64::try_from(int) {
                    Ok(int) => visitor.visit_u64(int),
                    Err(_) => visitor.visit_i128(int),
                },
                Wide::Unsigned(int) => visitor.visit_u128(int),
            },
            What::Float(float) => visitor.visit_f64(*float),
            What::Str(text) => visitor.visit_str(text),
            What::Bytes(bytes) => visitor.visit_bytes(bytes),
            What::Items(_, ids) => all_items(self.tree, ids, visitor),
            What::Entries(ids) => visitor.visit_map(Entries {
                tree: self.tree,
                rest: ids.chunks_exact(2),
                value: None,
            }),
            What::Function(function) => Err(function.is_no_data()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PickleError> {
        match self.what() {
            What::None => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, PickleError> {
        visitor.visit_newtype_struct(self)
    }

    /// Bytes are a sequence of bytes where one is wanted: `Vec<u8>`, `[u8; N]`.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PickleError> {
        match self.what() {
            What::Bytes(bytes) => {
                let mut items = SeqDeserializer::new(bytes.iter().copied());
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, PickleError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PickleError> {
        match self.what() {
            What::Items(_, ids) if ids.is_empty() => visitor.visit_unit(),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PickleError> {
        let of = |id| Value::new(self.tree, id);
        let (variant, content) = match self.what() {
            What::Str(_) => (self, None),
            What::Entries(ids) if ids.len() == 2 => (of(ids[0]), Some(of(ids[1]))),
            _ => return self.wrong("a str or a dict of one entry, for an enum"),
        };
        visitor.visit_enum(Variant { variant, content })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PickleError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string
        bytes byte_buf unit_struct tuple_struct map struct identifier
    }
}

struct Items<'t, 'm> {
    tree: &'t Tree<'m>,
    rest: slice::Iter<'t, Id>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = PickleError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, PickleError> {
        let next = self.rest.next();
        next.map(|id| seed.deserialize(Value::new(self.tree, *id)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Entries<'t, 'm> {
    tree: &'t Tree<'m>,
    rest: slice::ChunksExact<'t, Id>,
    /// Of the key that was given last.
    value: Option<Id>,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = PickleError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, PickleError> {
        let Some([key, value]) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(*value);
        seed.deserialize(Value::new(self.tree, *key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, PickleError> {
        match self.value.take() {
            Some(id) => seed.deserialize(Value::new(self.tree, id)),
            None => Err(PickleError::custom("a value was asked for before its key")),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

struct Variant<'t, 'm> {
    variant: Value<'t, 'm>,
    content: Option<Value<'t, 'm>>,
}

impl<'t, 'm> Variant<'t, 'm> {
    fn content(self) -> Result<Value<'t, 'm>, PickleError> {
        match self.content {
            Some(content) => Ok(content),
            None => self
                .variant
                .wrong("a dict of one entry, for a variant with data"),
        }
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = PickleError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self), PickleError> {
        Ok((seed.deserialize(self.variant)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = PickleError;

    fn unit_variant(self) -> Result<(), PickleError> {
        match self.content {
            None => Ok(()),
            Some(content) => match content.what() {
                What::None => Ok(()),
                _ => content.wrong("None, for a variant without data"),
            },
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, PickleError> {
        seed.deserialize(self.content()?)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, PickleError> {
        self.content()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PickleError> {
        self.content()?.deserialize_any(visitor)
    }
}
