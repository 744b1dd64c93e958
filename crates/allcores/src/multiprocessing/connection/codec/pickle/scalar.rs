//! Numbers and texts as pickles spell them.

use std::borrow::Cow;

/// An int that is no i64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wide {
    Signed(i128),
    /// Beyond the signed ones.
    Unsigned(u128),
}

/// An int of two's complement bytes, the lowest first; `None` if it is too large.
pub(super) fn int_of_bytes(bytes: &[u8]) -> Option<Wide> {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let fill = if negative { 0xff } else { 0 };
    let (low, high) = bytes.split_at(bytes.len().min(16));
    let mut whole = [fill; 16];
    whole[..low.len()].copy_from_slice(low);
    if high.iter().any(|byte| *byte != fill) {
        return None;
    }
    let signed = i128::from_le_bytes(whole);
    if (signed < 0) == negative {
        Some(Wide::Signed(signed))
    } else {
        (!negative).then_some(Wide::Unsigned(u128::from_le_bytes(whole)))
    }
}

/// An int in decimal digits. `Ok(None)` if it is too large, an error if it is none.
pub(super) fn int_of_digits(digits: &[u8]) -> Result<Option<Wide>, ()> {
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    let text = str::from_utf8(digits).map_err(|_| ())?;
    Ok(text
        .parse()
        .map(Wide::Signed)
        .or_else(|_| text.parse().map(Wide::Unsigned))
        .ok())
}

/// Text as protocol 0 writes it: Latin-1, with `\uXXXX` and `\UXXXXXXXX`. `None` for what is no Unicode.
pub(super) fn text_of_escapes(line: &[u8]) -> Option<Cow<'_, str>> {
    if line.is_ascii() && !line.contains(&b'\\') {
        return str::from_utf8(line).ok().map(Cow::Borrowed);
    }
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        let digits = match (first, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => 0,
        };
        if digits == 0 {
            text.push(char::from(*first));
            rest = after;
        } else {
            let digits = after.get(1..=digits)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            let number = u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
            text.push(char::from_u32(number)?);
            rest = &after[1 + digits.len()..];
        }
    }
    Some(Cow::Owned(text))
}

/// The bytes that a text of characters up to U+00FF stands for.
pub(super) fn latin1(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.chars().count());
    for character in text.chars() {
        bytes.push(u8::try_from(u32::from(character)).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ints_of_any_length() {
        let signed = |int| Some(Wide::Signed(int));
        assert_eq!(int_of_bytes(b""), signed(0));
        assert_eq!(int_of_bytes(b"\xff"), signed(-1));
        assert_eq!(int_of_bytes(b"\xff\0"), signed(255));
        assert_eq!(int_of_bytes(&[0xff; 40]), signed(-1));
        assert_eq!(int_of_bytes(&i128::MIN.to_le_bytes()), signed(i128::MIN));
        let mut bytes = [0xff; 17];
        bytes[16] = 0;
        assert_eq!(int_of_bytes(&bytes), Some(Wide::Unsigned(u128::MAX)));
        bytes[16] = 1;
        assert_eq!(int_of_bytes(&bytes), None);
        bytes[16] = 0xff;
        bytes[15] = 0x7f;
        assert_eq!(int_of_bytes(&bytes), None, "below i128::MIN");
    }

    #[test]
    fn digits() {
        assert_eq!(int_of_digits(b"-12"), Ok(Some(Wide::Signed(-12))));
        let most = u128::MAX.to_string();
        assert_eq!(
            int_of_digits(most.as_bytes()),
            Ok(Some(Wide::Unsigned(u128::MAX)))
        );
        assert_eq!(int_of_digits(&[b'9'; 60]), Ok(None));
        for none in [&b""[..], b"-", b"+1", b"1.0", b"0x1", b"--1", b" 1"] {
            assert_eq!(int_of_digits(none), Err(()));
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(text_of_escapes(b"plain").unwrap(), "plain");
        assert_eq!(
            text_of_escapes(b"\\u005cn \\U0001f600 \xe9 \\n").unwrap(),
            "\\n \u{1f600} \u{e9} \\n"
        );
        for none in [&b"\\ud800"[..], b"\\u12", b"\\u+123", b"\\U00110000"] {
            assert_eq!(text_of_escapes(none), None);
        }
    }
}
