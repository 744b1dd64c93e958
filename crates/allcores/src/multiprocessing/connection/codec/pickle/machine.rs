//! Runs a pickle: bytes in, a [`Tree`] out. It knows the instructions that plain data is made of and no others, calls
//! nothing, imports nothing, and takes memory in proportion to the bytes that have come.

use std::borrow::Cow;
use std::collections::HashMap;

use super::PickleError;
use super::input::Input;
use super::opcode::*;
use super::scalar::{Wide, int_of_bytes, int_of_digits, latin1, text_of_escapes};
use super::tree::{Function, Id, Kind, Tree, What};

/// The value that a message holds, all of it.
pub(super) fn run(message: &[u8]) -> Result<(Tree<'_>, Id), PickleError> {
    let mut machine = Machine {
        input: Input::new(message),
        tree: Tree::new(message.len()),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Memo::default(),
    };
    loop {
        let opcode = machine.input.opcode()?;
        if opcode == STOP {
            break;
        }
        machine.step(opcode)?;
    }
    let root = machine.pop()?;
    if !machine.stack.is_empty() || !machine.marks.is_empty() {
        return Err(machine.broken("more than one value is left at its end"));
    }
    if let What::Function(function) = machine.tree.what(root) {
        return Err(function.is_no_data());
    }
    match machine.input.rest() {
        0 => Ok((machine.tree, root)),
        bytes => Err(PickleError::LeftOver { bytes }),
    }
}

/// What the pickle mentions again. Python numbers its entries one by one.
#[derive(Default)]
struct Memo {
    dense: Vec<Id>,
    sparse: HashMap<u32, Id>,
}

impl Memo {
    fn put(&mut self, number: u32, id: Id) {
        let place = number as usize;
        if place < self.dense.len() {
            self.dense[place] = id;
        } else if place == self.dense.len() {
            self.dense.push(id);
        } else {
            self.sparse.insert(number, id);
        }
    }

    fn get(&self, number: u32) -> Option<Id> {
        let dense = self.dense.get(number as usize);
        dense.or_else(|| self.sparse.get(&number)).copied()
    }

    fn len(&self) -> u32 {
        (self.dense.len() + self.sparse.len()) as u32
    }
}

struct Machine<'m> {
    input: Input<'m>,
    tree: Tree<'m>,
    stack: Vec<Id>,
    /// How high the stack was at each mark.
    marks: Vec<usize>,
    memo: Memo,
}

impl<'m> Machine<'m> {
    fn step(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            PROTO => match self.input.u8()? {
                0..=5 => Ok(()),
                version => Err(PickleError::Protocol { version }),
            },
            FRAME => match self.input.u64()? {
                length if length <= self.input.rest() as u64 => Ok(()),
                _ => Err(PickleError::CutOff {
                    what: "a frame",
                    at: self.input.began(),
                }),
            },

            NONE => self.scalar(What::None),
            NEWTRUE => self.scalar(What::Bool(true)),
            NEWFALSE => self.scalar(What::Bool(false)),
            BININT => {
                let int = i32::from_le_bytes(self.input.array("an int")?);
                self.scalar(What::Int(int.into()))
            }
            BININT1 => {
                let int = self.input.u8()?;
                self.scalar(What::Int(int.into()))
            }
            BININT2 => {
                let int = u16::from_le_bytes(self.input.array("an int")?);
                self.scalar(What::Int(int.into()))
            }
            LONG1 => {
                let length = self.input.u8()?;
                self.long(length.into())
            }
            LONG4 => {
                let length = i32::from_le_bytes(self.input.array("a length")?);
                let length = u64::try_from(length);
                self.long(length.map_err(|_| self.broken("a length is negative"))?)
            }
            INT => match self.input.line("an int")? {
                b"00" => self.scalar(What::Bool(false)),
                b"01" => self.scalar(What::Bool(true)),
                digits => self.digits(digits),
            },
            LONG => {
                let line = self.input.line("an int")?;
                self.digits(line.strip_suffix(b"L").unwrap_or(line))
            }
            BINFLOAT => {
                let float = f64::from_be_bytes(self.input.array("a float")?);
                self.scalar(What::Float(float))
            }
            FLOAT => {
                let line = self.input.line("a float")?;
                let float = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
                let float = float.ok_or_else(|| self.broken("a float is none"))?;
                self.scalar(What::Float(float))
            }

            SHORT_BINUNICODE => {
                let length = self.input.u8()?;
                self.text(length.into())
            }
            BINUNICODE => {
                let length = self.input.u32()?;
                self.text(length.into())
            }
            BINUNICODE8 => {
                let length = self.input.u64()?;
                self.text(length)
            }
            UNICODE => {
                let line = self.input.line("a str")?;
                let at = self.input.began();
                let text = text_of_escapes(line).ok_or(PickleError::NotUtf8 { at })?;
                self.scalar(What::Str(text))
            }
            SHORT_BINSTRING => {
                let length = self.input.u8()?;
                self.ascii(length.into())
            }
            BINSTRING => {
                let length = self.input.u32()?;
                self.ascii(length.into())
            }
            SHORT_BINBYTES => {
                let length = self.input.u8()?;
                self.bytes(length.into())
            }
            BINBYTES => {
                let length = self.input.u32()?;
                self.bytes(length.into())
            }
            BINBYTES8 | BYTEARRAY8 => {
                let length = self.input.u64()?;
                self.bytes(length)
            }

            MARK => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            EMPTY_LIST => self.take_last(0, What::Items(Kind::List, Vec::new())),
            EMPTY_SET => self.take_last(0, What::Items(Kind::Set, Vec::new())),
            EMPTY_DICT => self.take_last(0, What::Entries(Vec::new())),
            EMPTY_TUPLE => self.take_last(0, What::Items(Kind::Tuple, Vec::new())),
            TUPLE1 => self.take_last(1, What::Items(Kind::Tuple, Vec::new())),
            TUPLE2 => self.take_last(2, What::Items(Kind::Tuple, Vec::new())),
            TUPLE3 => self.take_last(3, What::Items(Kind::Tuple, Vec::new())),
            TUPLE => self.take_marked(What::Items(Kind::Tuple, Vec::new())),
            LIST => self.take_marked(What::Items(Kind::List, Vec::new())),
            FROZENSET => self.take_marked(What::Items(Kind::Set, Vec::new())),
            DICT => self.take_marked(What::Entries(Vec::new())),
            APPEND => self.add_last(1, "list"),
            SETITEM => self.add_last(2, "dict"),
            APPENDS => self.add_marked("list"),
            SETITEMS => self.add_marked("dict"),
            ADDITEMS => self.add_marked("set"),

            PUT => {
                let number = self.number()?;
                self.put(number)
            }
            BINPUT => {
                let number = self.input.u8()?;
                self.put(number.into())
            }
            LONG_BINPUT => {
                let number = self.input.u32()?;
                self.put(number)
            }
            MEMOIZE => self.put(self.memo.len()),
            GET => {
                let number = self.number()?;
                self.get(number)
            }
            BINGET => {
                let number = self.input.u8()?;
                self.get(number.into())
            }
            LONG_BINGET => {
                let number = self.input.u32()?;
                self.get(number)
            }

            GLOBAL => {
                let module = self.input.line("a name")?;
                let name = self.input.line("a name")?;
                self.scalar(What::Function(Function::named(module, name)?))
            }
            STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let function = match (self.tree.what(module), self.tree.what(name)) {
                    (What::Str(module), What::Str(name)) => {
                        Function::named(module.as_bytes(), name.as_bytes())?
                    }
                    _ => return Err(self.broken("a name is no str")),
                };
                self.scalar(What::Function(function))
            }
            REDUCE => self.reduce(),

            opcode => Err(PickleError::Opcode {
                opcode,
                at: self.input.began(),
            }),
        }
    }

    fn broken(&self, reason: &'static str) -> PickleError {
        PickleError::Broken {
            at: self.input.began(),
            reason,
        }
    }

    fn scalar(&mut self, what: What<'m>) -> Result<(), PickleError> {
        let id = self.tree.scalar(what)?;
        self.stack.push(id);
        Ok(())
    }

    fn int(&mut self, int: Option<Wide>) -> Result<(), PickleError> {
        match int {
            Some(Wide::Signed(int)) if i64::try_from(int).is_ok() => {
                self.scalar(What::Int(int as i64))
            }
            Some(wide) => self.scalar(What::Wide(Box::new(wide))),
            None => Err(PickleError::IntTooLarge {
                at: self.input.began(),
            }),
        }
    }

    fn long(&mut self, length: u64) -> Result<(), PickleError> {
        let bytes = self.input.bytes(length, "an int")?;
        self.int(int_of_bytes(bytes))
    }

    fn digits(&mut self, digits: &[u8]) -> Result<(), PickleError> {
        let int = int_of_digits(digits).map_err(|()| self.broken("an int is none"))?;
        self.int(int)
    }

    fn text(&mut self, length: u64) -> Result<(), PickleError> {
        let bytes = self.input.bytes(length, "a str")?;
        let at = self.input.began();
        let text = str::from_utf8(bytes).map_err(|_| PickleError::NotUtf8 { at })?;
        self.scalar(What::Str(Cow::Borrowed(text)))
    }

    /// A str of Python 2. As in Python 3, only if it is ASCII.
    fn ascii(&mut self, length: u64) -> Result<(), PickleError> {
        let bytes = self.input.bytes(length, "a str")?;
        let at = self.input.began();
        let text = str::from_utf8(bytes).ok().filter(|text| text.is_ascii());
        let text = text.ok_or(PickleError::NotUtf8 { at })?;
        self.scalar(What::Str(Cow::Borrowed(text)))
    }

    fn bytes(&mut self, length: u64) -> Result<(), PickleError> {
        let bytes = self.input.bytes(length, "bytes")?;
        self.scalar(What::Bytes(Cow::Borrowed(bytes)))
    }

    /// Where the values begin that lie above the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, PickleError> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn top(&self) -> Result<Id, PickleError> {
        match self.stack.last() {
            Some(id) if self.stack.len() > self.floor() => Ok(*id),
            _ => Err(self.broken("a value is missing on its stack")),
        }
    }

    /// Where the last `count` values begin.
    fn last(&self, count: usize) -> Result<usize, PickleError> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(start),
            _ => Err(self.broken("a value is missing on its stack")),
        }
    }

    /// Where the values above the last mark begin, which is taken.
    fn marked(&mut self) -> Result<usize, PickleError> {
        let start = self.marks.pop();
        start.ok_or_else(|| self.broken("a mark is missing on its stack"))
    }

    /// Makes a container of what is on the stack from `start` on.
    fn take(&mut self, empty: What<'m>, start: usize) -> Result<(), PickleError> {
        let contents = &self.stack[start..];
        if matches!(empty, What::Entries(_)) && !contents.len().is_multiple_of(2) {
            return Err(self.broken("a dict has a key without a value"));
        }
        let id = self.tree.container(empty, contents)?;
        self.stack.truncate(start);
        self.stack.push(id);
        Ok(())
    }

    fn take_last(&mut self, count: usize, empty: What<'m>) -> Result<(), PickleError> {
        let start = self.last(count)?;
        self.take(empty, start)
    }

    fn take_marked(&mut self, empty: What<'m>) -> Result<(), PickleError> {
        let start = self.marked()?;
        self.take(empty, start)
    }

    /// Adds what is on the stack from `start` on to the container below it.
    fn add(&mut self, start: usize, to: &'static str) -> Result<(), PickleError> {
        let container = match start.checked_sub(1) {
            Some(below) if below >= self.floor() => self.stack[below],
            _ => return Err(self.broken("a value is missing on its stack")),
        };
        let contents = &self.stack[start..];
        match (self.tree.what(container), to) {
            (What::Items(Kind::List, _), "list") | (What::Items(Kind::Set, _), "set") => {}
            (What::Entries(_), "dict") if contents.len().is_multiple_of(2) => {}
            (What::Entries(_), "dict") => {
                return Err(self.broken("a dict has a key without a value"));
            }
            _ => return Err(self.broken("something is added to what takes no such thing")),
        }
        self.tree.add(container, contents)?;
        self.stack.truncate(start);
        Ok(())
    }

    fn add_last(&mut self, count: usize, to: &'static str) -> Result<(), PickleError> {
        let start = self.last(count)?;
        self.add(start, to)
    }

    fn add_marked(&mut self, to: &'static str) -> Result<(), PickleError> {
        let start = self.marked()?;
        self.add(start, to)
    }

    /// The number of a memo's entry, as a line.
    fn number(&mut self) -> Result<u32, PickleError> {
        let line = self.input.line("a number")?;
        let number = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        number.ok_or_else(|| self.broken("a number is none"))
    }

    fn put(&mut self, number: u32) -> Result<(), PickleError> {
        self.memo.put(number, self.top()?);
        Ok(())
    }

    fn get(&mut self, number: u32) -> Result<(), PickleError> {
        let id = self.memo.get(number);
        let id = id.ok_or_else(|| self.broken("what it mentions again was never there"))?;
        self.tree.seal(id);
        self.stack.push(id);
        Ok(())
    }

    /// The few calls by which older protocols make sets and bytes.
    fn reduce(&mut self) -> Result<(), PickleError> {
        use What::{Bytes, Entries, Items, Str};
        let (arguments, function) = (self.pop()?, self.pop()?);
        let What::Function(function) = *self.tree.what(function) else {
            return Err(self.broken("what it calls is no function"));
        };
        let Items(Kind::Tuple, arguments) = self.tree.what(arguments) else {
            return Err(self.broken("a call has no tuple of arguments"));
        };
        let all: Vec<Id> = arguments.iter().take(3).copied().collect();
        let first = all.first().map(|id| self.tree.what(*id));
        let second = all.get(1).map(|id| self.tree.what(*id));
        let is_latin1 = |encoding: &str| matches!(encoding, "latin1" | "latin-1");
        match (function, first, second, all.len()) {
            (Function::Set | Function::FrozenSet, None, None, 0) => {
                self.take_last(0, Items(Kind::Set, Vec::new()))
            }
            // Nobody can tell a set from the list of its items here.
            (Function::Set | Function::FrozenSet, Some(Items(Kind::List, _)), None, 1)
            | (Function::Bytes | Function::ByteArray, Some(Bytes(_)), None, 1) => {
                self.stack.push(all[0]);
                Ok(())
            }
            (Function::Bytes | Function::ByteArray, None, None, 0) => {
                self.scalar(Bytes(Cow::Borrowed(b"")))
            }
            (
                Function::ByteArray | Function::Encode,
                Some(Str(characters)),
                Some(Str(encoding)),
                2,
            ) if is_latin1(encoding) => {
                let bytes = latin1(characters);
                let bytes = bytes.ok_or_else(|| self.broken("bytes are none"))?;
                let id = self.tree.copy(bytes)?;
                self.stack.push(id);
                Ok(())
            }
            (Function::OrderedDict, None, None, 0) => self.take_last(0, Entries(Vec::new())),
            _ => Err(self.broken("a call has arguments that plain data does without")),
        }
    }
}
