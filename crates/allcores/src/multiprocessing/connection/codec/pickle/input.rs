//! The bytes of a pickle, read once from front to back. A length in them is believed as far as the message goes.

use super::PickleError;

pub(super) struct Input<'m> {
    message: &'m [u8],
    at: usize,
    /// Where the instruction began that is being read.
    began: usize,
}

impl<'m> Input<'m> {
    pub(super) fn new(message: &'m [u8]) -> Input<'m> {
        Input {
            message,
            at: 0,
            began: 0,
        }
    }

    /// Where the instruction stands that is being read.
    pub(super) fn began(&self) -> usize {
        self.began
    }

    pub(super) fn rest(&self) -> usize {
        self.message.len() - self.at
    }

    fn cut_off(&self, what: &'static str) -> PickleError {
        PickleError::CutOff {
            what,
            at: self.began,
        }
    }

    /// The next instruction.
    pub(super) fn opcode(&mut self) -> Result<u8, PickleError> {
        self.began = self.at;
        Ok(self.array::<1>("an instruction")?[0])
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], PickleError> {
        let bytes = self.bytes(N as u64, what)?;
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, PickleError> {
        Ok(u8::from_le_bytes(self.array("a number")?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, PickleError> {
        Ok(u32::from_le_bytes(self.array("a number")?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, PickleError> {
        Ok(u64::from_le_bytes(self.array("a number")?))
    }

    pub(super) fn bytes(
        &mut self,
        length: u64,
        what: &'static str,
    ) -> Result<&'m [u8], PickleError> {
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| self.at.checked_add(length));
        let bytes = end
            .and_then(|end| self.message.get(self.at..end))
            .ok_or(self.cut_off(what))?;
        self.at += bytes.len();
        Ok(bytes)
    }

    /// Up to the next line feed, which is skipped.
    pub(super) fn line(&mut self, what: &'static str) -> Result<&'m [u8], PickleError> {
        let rest = &self.message[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n');
        let line = &rest[..length.ok_or(self.cut_off(what))?];
        self.at += line.len() + 1;
        Ok(line)
    }
}
