//! What a pickle stands for, as a table of values that name each other by number: dropping it takes no recursion, and what
//! a pickle mentions twice is here once.

use std::borrow::Cow;

use super::PickleError;
use super::limits::{MOST_DEPTH, WEIGHT, most_weight};
use super::scalar::Wide;

/// A value, by its place in the table.
pub(super) type Id = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Tuple,
    Set,
}

/// The functions that pickles of plain data call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Set,
    FrozenSet,
    Bytes,
    ByteArray,
    Encode,
    OrderedDict,
}

#[derive(Debug)]
pub(super) enum What<'m> {
    None,
    Bool(bool),
    Int(i64),
    Wide(Box<Wide>),
    Float(f64),
    Str(Cow<'m, str>),
    Bytes(Cow<'m, [u8]>),
    Items(Kind, Vec<Id>),
    /// A key, its value, the next key …
    Entries(Vec<Id>),
    /// On its way to be called; in no container.
    Function(Function),
}

#[derive(Debug)]
struct Node<'m> {
    what: What<'m>,
    /// What it weighs when everything that it mentions is written out.
    weight: u64,
    /// How many containers are within each other here.
    depth: u8,
    /// It is part of something: nothing may be added to it any more. What Python's pickler writes is complete by then,
    /// unless it contains itself.
    sealed: bool,
}

#[derive(Debug)]
pub(super) struct Tree<'m> {
    nodes: Vec<Node<'m>>,
    message: usize,
    /// What was copied besides, and may be mentioned nowhere.
    copied: u64,
}

impl<'m> Tree<'m> {
    /// For a message of so many bytes.
    pub(super) fn new(message: usize) -> Tree<'m> {
        Tree {
            nodes: Vec::new(),
            message,
            copied: 0,
        }
    }

    pub(super) fn what(&self, id: Id) -> &What<'m> {
        &self.nodes[id as usize].what
    }

    fn unfolds(&self) -> PickleError {
        PickleError::Unfolds {
            bytes: self.message,
            most: most_weight(self.message),
        }
    }

    fn push(&mut self, what: What<'m>, weight: u64) -> Result<Id, PickleError> {
        let id = Id::try_from(self.nodes.len()).map_err(|_| self.unfolds())?;
        self.nodes.push(Node {
            what,
            weight,
            depth: 0,
            sealed: false,
        });
        Ok(id)
    }

    /// A value that holds no others.
    pub(super) fn scalar(&mut self, what: What<'m>) -> Result<Id, PickleError> {
        let bytes = match &what {
            What::Str(text) => text.len(),
            What::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        self.push(what, WEIGHT + bytes as u64)
    }

    /// A value made of bytes of another one, as often as the pickle says so.
    pub(super) fn copy(&mut self, bytes: Vec<u8>) -> Result<Id, PickleError> {
        self.copied += bytes.len() as u64;
        if self.copied > most_weight(self.message) {
            return Err(self.unfolds());
        }
        self.scalar(What::Bytes(bytes.into()))
    }

    /// A list, tuple, set or dictionary with these contents.
    pub(super) fn container(
        &mut self,
        empty: What<'m>,
        contents: &[Id],
    ) -> Result<Id, PickleError> {
        let id = self.push(empty, WEIGHT)?;
        self.nodes[id as usize].depth = 1;
        self.add(id, contents)?;
        Ok(id)
    }

    /// From here on nothing may be added to it.
    pub(super) fn seal(&mut self, id: Id) {
        self.nodes[id as usize].sealed = true;
    }

    /// Adds contents to a container.
    pub(super) fn add(&mut self, id: Id, contents: &[Id]) -> Result<(), PickleError> {
        let Node {
            mut weight,
            mut depth,
            sealed,
            ..
        } = self.nodes[id as usize];
        if sealed {
            return Err(PickleError::Recursive);
        }
        for part in contents {
            let part = &mut self.nodes[*part as usize];
            if let What::Function(function) = part.what {
                return Err(function.is_no_data());
            }
            part.sealed = true;
            weight = weight.saturating_add(part.weight);
            depth = depth.max(part.depth.saturating_add(1));
        }
        if depth > MOST_DEPTH {
            return Err(PickleError::TooDeep);
        }
        if weight > most_weight(self.message) {
            return Err(self.unfolds());
        }
        let node = &mut self.nodes[id as usize];
        node.weight = weight;
        node.depth = depth;
        match &mut node.what {
            What::Items(_, parts) | What::Entries(parts) => parts.extend_from_slice(contents),
            _ => unreachable!("only containers are added to"),
        }
        Ok(())
    }
}

impl Function {
    const NAMES: [(&'static [u8], &'static [u8], Function); 10] = [
        (b"builtins", b"set", Function::Set),
        (b"builtins", b"frozenset", Function::FrozenSet),
        (b"builtins", b"bytes", Function::Bytes),
        (b"builtins", b"bytearray", Function::ByteArray),
        (b"_codecs", b"encode", Function::Encode),
        (b"collections", b"OrderedDict", Function::OrderedDict),
        // Up to protocol 2, modules have the names that they had in Python 2.
        (b"__builtin__", b"set", Function::Set),
        (b"__builtin__", b"frozenset", Function::FrozenSet),
        (b"__builtin__", b"bytes", Function::Bytes),
        (b"__builtin__", b"bytearray", Function::ByteArray),
    ];

    /// The function of that name, if plain data needs it. Nothing is ever imported.
    pub(super) fn named(module: &[u8], name: &[u8]) -> Result<Function, PickleError> {
        let known = Function::NAMES
            .iter()
            .find(|(its_module, its_name, _)| (*its_module, *its_name) == (module, name));
        match known {
            Some((_, _, function)) => Ok(*function),
            None => Err(class(module, name)),
        }
    }

    /// It stands where a value should.
    pub(super) fn is_no_data(self) -> PickleError {
        let (module, name, _) = Function::NAMES
            .iter()
            .find(|(_, _, function)| *function == self)
            .expect("every function has a name");
        class(module, name)
    }
}

fn class(module: &[u8], name: &[u8]) -> PickleError {
    const MOST: usize = 80;
    let short = |bytes: &[u8]| bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    PickleError::Class {
        name: format!("{}.{}", short(module), short(name)),
    }
}
