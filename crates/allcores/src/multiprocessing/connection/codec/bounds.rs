//! Bounds around any deserialiser. Types that contain themselves would otherwise let a peer choose how much stack is used,
//! and sequences of what takes no bytes (`Vec<()>`) how long it takes.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

/// How many values may be within each other.
const MOST_DEPTH: u16 = 256;
/// How many items every message may have, and how many more for each of its bytes: there are fields that take none.
const ITEMS: u64 = 1 << 16;
const ITEMS_FOR_EACH_BYTE: u64 = 64;

/// Why a message is refused that a deserialiser would take.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Excess {
    #[error(
        "the message is nested more than {MOST_DEPTH} levels deep: send it flatter, or in several messages"
    )]
    Depth,
    #[error("the message has far more items than bytes: send their number instead")]
    Items,
}

/// What is left for a message.
pub(super) struct Bounds {
    bytes: usize,
    items: Cell<u64>,
    /// The deserialiser's own error may have no words for it.
    excess: Cell<Option<Excess>>,
}

impl Bounds {
    /// For a message of so many bytes.
    pub(super) fn new(bytes: usize) -> Bounds {
        Bounds {
            bytes,
            items: Cell::new(
                ITEMS.saturating_add(ITEMS_FOR_EACH_BYTE.saturating_mul(bytes as u64)),
            ),
            excess: Cell::new(None),
        }
    }

    /// What has been too much.
    pub(super) fn excess(&self) -> Option<Excess> {
        self.excess.get()
    }

    /// What a length in the message is worth as a hint at how much memory will be needed.
    #[inline]
    fn hint(&self, hint: Option<usize>) -> Option<usize> {
        hint.map(|items| items.min(self.bytes))
    }

    #[cold]
    fn refuse<E: Error>(&self, excess: Excess) -> E {
        self.excess.set(Some(excess));
        E::custom(excess)
    }

    /// So many items are about to come.
    #[inline]
    fn count<E: Error>(&self, items: usize) -> Result<(), E> {
        match self.items.get().checked_sub(items as u64) {
            Some(left) => {
                self.items.set(left);
                Ok(())
            }
            None => Err(self.refuse(Excess::Items)),
        }
    }
}

/// Something of a deserialiser's, with so many levels left below it.
pub(super) struct Within<'c, T> {
    inner: T,
    left: u16,
    /// Of a sequence: its items were counted before the first of them came.
    counted: bool,
    bounds: &'c Bounds,
}

impl<'c, T> Within<'c, T> {
    pub(super) fn new(inner: T, bounds: &'c Bounds) -> Within<'c, T> {
        Within {
            inner,
            left: MOST_DEPTH,
            counted: false,
            bounds,
        }
    }

    /// One level further down.
    fn deeper<U, E: Error>(&self, inner: U) -> Result<Within<'c, U>, E> {
        match self.left.checked_sub(1) {
            Some(left) => Ok(Within {
                left,
                ..self.as_deep(inner)
            }),
            None => Err(self.bounds.refuse(Excess::Depth)),
        }
    }

    /// On the same level: the items of a sequence or the entries of a map, of which there will be so many.
    #[inline]
    fn counted<U, E: Error>(&self, inner: U, items: Option<usize>) -> Result<Within<'c, U>, E> {
        if let Some(items) = items {
            self.bounds.count(items)?;
        }
        Ok(Within {
            counted: items.is_some(),
            ..self.as_deep(inner)
        })
    }

    /// On the same level.
    fn as_deep<U>(&self, inner: U) -> Within<'c, U> {
        Within {
            inner,
            left: self.left,
            counted: false,
            bounds: self.bounds,
        }
    }
}

/// What holds no other values needs no watching.
macro_rules! leaves {
    ($($method:ident)*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )*};
}

macro_rules! nests {
    ($($method:ident($($name:ident: $type:ty),*))*) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            let visitor = self.deeper(visitor)?;
            self.inner.$method($($name,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Within<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_bool deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_unit deserialize_identifier
    }

    nests! {
        deserialize_any()
        deserialize_ignored_any()
        deserialize_option()
        deserialize_seq()
        deserialize_map()
        deserialize_tuple(length: usize)
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! passes_on {
    ($($method:ident: $type:ty,)*) => {$(
        #[inline]
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Within<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    passes_on! {
        visit_bool: bool, visit_char: char,
        visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128,
        visit_f32: f32, visit_f64: f64,
        visit_str: &str, visit_borrowed_str: &'de str, visit_string: String,
        visit_bytes: &[u8], visit_borrowed_bytes: &'de [u8], visit_byte_buf: Vec<u8>,
    }

    #[inline]
    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    #[inline]
    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    #[inline]
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let deserializer = self.as_deep(deserializer);
        self.inner.visit_some(deserializer)
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<V::Value, D::Error> {
        let deserializer = self.as_deep(deserializer);
        self.inner.visit_newtype_struct(deserializer)
    }

    #[inline]
    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        let hint = items.size_hint();
        let items = self.counted(items, hint)?;
        self.inner.visit_seq(items)
    }

    #[inline]
    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let hint = entries.size_hint();
        let entries = self.counted(entries, hint)?;
        self.inner.visit_map(entries)
    }

    #[inline]
    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        let variant = self.as_deep(variant);
        self.inner.visit_enum(variant)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Within<'_, S> {
    type Value = S::Value;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        let deserializer = self.as_deep(deserializer);
        self.inner.deserialize(deserializer)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Within<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, A::Error> {
        if !self.counted {
            self.bounds.count(1)?;
        }
        let seed = self.as_deep(seed);
        self.inner.next_element_seed(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.bounds.hint(self.inner.size_hint())
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Within<'_, A> {
    type Error = A::Error;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        if !self.counted {
            self.bounds.count(1)?;
        }
        let seed = self.as_deep(seed);
        self.inner.next_key_seed(seed)
    }

    #[inline]
    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.as_deep(seed);
        self.inner.next_value_seed(seed)
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        self.bounds.hint(self.inner.size_hint())
    }
}

impl<'de, 'c, A: EnumAccess<'de>> EnumAccess<'de> for Within<'c, A> {
    type Error = A::Error;
    type Variant = Within<'c, A::Variant>;

    #[inline]
    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Within<'c, A::Variant>), A::Error> {
        let (here, seed) = (self.as_deep(()), self.as_deep(seed));
        let (variant, content) = self.inner.variant_seed(seed)?;
        Ok((variant, here.as_deep(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Within<'_, A> {
    type Error = A::Error;

    #[inline]
    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        let seed = self.as_deep(seed);
        self.inner.newtype_variant_seed(seed)
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.as_deep(visitor);
        self.inner.tuple_variant(length, visitor)
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        let visitor = self.as_deep(visitor);
        self.inner.struct_variant(fields, visitor)
    }
}
