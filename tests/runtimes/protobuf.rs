//! Protocol buffers, as far as CRI needs them: numbers, texts, and messages in messages.

/// How a field is written on the wire (protobuf.dev, "Encoding": wire types).
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is written. What has its default value is left out, as in proto3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message(Vec<u8>);

/// A message that was read: its fields in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(u64, Field)>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    pub(crate) fn number(mut self, field: u64, number: u64) -> Self {
        if number != 0 {
            self.varint(field << 3 | VARINT);
            self.varint(number);
        }
        self
    }

    pub(crate) fn text(self, field: u64, text: &str) -> Self {
        if text.is_empty() { self } else { self.bytes(field, text.as_bytes()) }
    }

    pub(crate) fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// An entry of a map of texts.
    pub(crate) fn entry(self, field: u64, key: &str, value: &str) -> Self {
        self.message(field, &Self::default().text(1, key).text(2, value))
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

impl Fields {
    /// Reads a message; `None` when it is none.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut fields = vec![];
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let field = match tag & 7 {
                VARINT => Field::Number(varint(&mut bytes)?),
                BYTES => {
                    let length = usize::try_from(varint(&mut bytes)?).ok()?;
                    Field::Bytes(take(&mut bytes, length)?.to_vec())
                }
                FIXED64 => Field::Bytes(take(&mut bytes, 8)?.to_vec()),
                FIXED32 => Field::Bytes(take(&mut bytes, 4)?.to_vec()),
                _ => return None,
            };
            fields.push((tag >> 3, field));
        }
        Some(Self(fields))
    }

    /// The number of a field, or 0.
    pub(crate) fn number(&self, field: u64) -> u64 {
        let numbers = self.of(field).filter_map(|it| match it {
            Field::Number(number) => Some(*number),
            Field::Bytes(_) => None,
        });
        numbers.last().unwrap_or_default()
    }

    /// The text of a field, or the empty one.
    pub(crate) fn text(&self, field: u64) -> String {
        let last = self.bytes(field).last();
        last.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    /// The messages of a field.
    pub(crate) fn messages(&self, field: u64) -> Vec<Self> {
        self.bytes(field).filter_map(|bytes| Self::read(bytes)).collect()
    }

    /// The message of a field, or the empty one.
    pub(crate) fn message(&self, field: u64) -> Self {
        self.messages(field).pop().unwrap_or_default()
    }

    fn bytes(&self, field: u64) -> impl Iterator<Item = &Vec<u8>> {
        self.of(field).filter_map(|it| match it {
            Field::Bytes(bytes) => Some(bytes),
            Field::Number(_) => None,
        })
    }

    fn of(&self, field: u64) -> impl Iterator<Item = &Field> {
        self.0.iter().filter(move |(number, _)| *number == field).map(|(_, value)| value)
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(length)?;
    *bytes = tail;
    Some(head)
}

#[test]
fn what_is_written_is_read() {
    let inner = Message::default().text(1, "a").number(2, 300);

    let bytes = Message::default().message(3, &inner).entry(6, "k", "v").number(9, 0).into_bytes();

    // protobuf.dev, "Encoding": 300 is ac 02.
    assert_eq!(bytes, b"\x1a\x06\x0a\x01a\x10\xac\x02\x32\x06\x0a\x01k\x12\x01v");
    let read = Fields::read(&bytes).unwrap();
    assert_eq!((read.message(3).text(1), read.message(3).number(2)), ("a".into(), 300));
    assert_eq!(read.messages(6)[0].text(2), "v");
    assert_eq!((read.number(9), read.text(9)), (0, String::new()));
    assert_eq!(Fields::read(&bytes[..bytes.len() - 1]), None);
}
