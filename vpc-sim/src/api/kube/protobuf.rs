//! Objects as protobuf: the envelope that clients of Kubernetes write, and fields by their numbers.
//!
//! The table of fields says all that is needed, so there is no code for each message, and JSON and
//! protobuf cannot differ in what they know.

use super::fields::{Field, INLINE, Message, Shape, Type, message};
use serde_json::{Map, Value, json};

/// What a body begins with (`k8s.io/apimachinery` `serializer/protobuf`).
const MAGIC: &[u8] = b"k8s\0";

/// How deep messages may lie in each other: a Pod has eight.
const MAX_DEPTH: u32 = 32;

/// A time before which none is told: Go's zero time, the first of January of year 1.
const ZERO_TIME: i64 = -62_135_596_800;

/// One field on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The object of a body.
pub(crate) fn decode(of: &'static Message, body: &[u8]) -> Result<Value, String> {
    let envelope = body.strip_prefix(MAGIC).ok_or("the body does not begin with k8s\\0")?;
    let (mut object, mut raw) = (Map::new(), None);
    for field in fields(envelope) {
        // runtime.Unknown: 1 typeMeta, 2 raw.
        match field? {
            (1, Wire::Bytes(bytes)) => {
                for field in fields(bytes) {
                    match field? {
                        (1, Wire::Bytes(bytes)) => object.insert("apiVersion".into(), text(bytes)?),
                        (2, Wire::Bytes(bytes)) => object.insert("kind".into(), text(bytes)?),
                        _ => None,
                    };
                }
            }
            (2, Wire::Bytes(bytes)) => raw = Some(bytes),
            _ => {}
        }
    }
    object.extend(read(of, raw.ok_or("the body has no object")?, MAX_DEPTH)?);
    Ok(object.into())
}

/// A message as JSON. What the table does not have is passed over.
fn read(of: &'static Message, bytes: &[u8], depth: u32) -> Result<Map<String, Value>, String> {
    if depth == 0 {
        return Err("messages lie too deep in each other".into());
    }
    let mut object = Map::new();
    for field in fields(bytes) {
        let (number, wire) = field?;
        let Some(field) = of.fields.iter().find(|it| it.number == number) else { continue };
        let name = || field.name.to_owned();
        match (field.shape, field.kind, wire) {
            (Shape::One, Type::Message(inner), Wire::Bytes(bytes)) if field.name == INLINE => {
                object.extend(read(message(inner), bytes, depth - 1)?);
            }
            (Shape::One, _, wire) => {
                let value = element(of, field, wire, depth)?;
                if field.optional || !is_empty(&value) {
                    object.insert(name(), value);
                }
            }
            (Shape::List(_), _, wire) => {
                let value = element(of, field, wire, depth)?;
                let list = object.entry(name()).or_insert_with(|| json!([]));
                list.as_array_mut().into_iter().for_each(|list| list.push(value.clone()));
            }
            (Shape::Map, _, Wire::Bytes(bytes)) => {
                let (key, value) = entry(of, field, bytes, depth)?;
                object.entry(name()).or_insert_with(|| json!({}))[key] = value;
            }
            (Shape::Map, _, Wire::Number(_)) => return Err(wrong(of, field)),
        }
    }
    Ok(object)
}

/// An entry of a map: 1 is its key, 2 its value.
fn entry(of: &Message, field: &Field, bytes: &[u8], depth: u32) -> Result<(String, Value), String> {
    let (mut key, mut value) = (String::new(), Value::Null);
    for part in fields(bytes) {
        match part? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?.as_str().unwrap_or_default().into(),
            (2, wire) => value = element(of, field, wire, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn element(of: &Message, field: &Field, wire: Wire<'_>, depth: u32) -> Result<Value, String> {
    match (field.kind, wire) {
        (Type::Text, Wire::Bytes(bytes)) => text(bytes),
        (Type::Int32 | Type::Int64, Wire::Number(number)) => Ok(number.cast_signed().into()),
        (Type::Bool, Wire::Number(number)) => Ok((number != 0).into()),
        (Type::Bytes, Wire::Bytes(bytes)) => Ok(base64(bytes).into()),
        (Type::Time, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%SZ"),
        (Type::MicroTime, Wire::Bytes(bytes)) => time(bytes, "%Y-%m-%dT%H:%M:%S.%6fZ"),
        // Quantity: 1 string. FieldsV1: 1 Raw, which is JSON.
        (Type::Quantity, Wire::Bytes(bytes)) => text(only(bytes)?),
        (Type::Raw, Wire::Bytes(bytes)) => {
            serde_json::from_slice(only(bytes)?).map_err(|error| error.to_string())
        }
        (Type::IntOrText, Wire::Bytes(bytes)) => int_or_text(bytes),
        (Type::Message(name), Wire::Bytes(bytes)) => {
            Ok(read(message(name), bytes, depth - 1)?.into())
        }
        (_, _) => Err(wrong(of, field)),
    }
}

/// What a field without a mark that a zero differs from nothing leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

/// `Timestamp`: 1 seconds, 2 nanos.
fn time(bytes: &[u8], format: &str) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (ZERO_TIME, 0);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Number(number)) => seconds = number.cast_signed(),
            (2, Wire::Number(number)) => {
                nanos = i32::try_from(number).map_err(|it| it.to_string())?
            }
            _ => {}
        }
    }
    if seconds == ZERO_TIME {
        return Ok(Value::Null);
    }
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|error| error.to_string())?;
    Ok(time.strftime(format).to_string().into())
}

/// `IntOrString`: 1 type, 2 intVal, 3 strVal.
fn int_or_text(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut string) = (false, 0, Value::Null);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { string } else { number.into() })
}

fn only(bytes: &[u8]) -> Result<&[u8], String> {
    for field in fields(bytes) {
        if let (1, Wire::Bytes(bytes)) = field? {
            return Ok(bytes);
        }
    }
    Ok(&[])
}

fn text(bytes: &[u8]) -> Result<Value, String> {
    std::str::from_utf8(bytes).map(Value::from).map_err(|error| error.to_string())
}

fn wrong(of: &Message, field: &Field) -> String {
    format!("proto: wrong wire type for {}.{}", of.name, field.name)
}

/// RFC 4648, as JSON has bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let byte = |n: usize| u32::from(group.get(n).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
            out.push(if n > group.len() { '=' } else { char::from(letter) });
        }
    }
    out
}

/// The fields of a message on the wire (protobuf's encoding), until one is broken.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>), String>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest).ok_or_else(|| {
            rest = &[];
            "proto: unexpected end of the body, or a wire type that is not used".to_owned()
        });
        Some(field)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let tag = varint(rest)?;
    let wire = match tag & 7 {
        0 => Wire::Number(varint(rest)?),
        1 => Wire::Bytes(take(rest, 8)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Wire::Bytes(take(rest, length)?)
        }
        5 => Wire::Bytes(take(rest, 4)?),
        _ => return None,
    };
    Some((tag >> 3, wire))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, others) = rest.split_first()?;
        *rest = others;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, others) = rest.split_at_checked(length)?;
    *rest = others;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by `k8s.io/apimachinery`'s serializer, v0.35.4: a Lease with labels and a time.
    const LEASE: &str = "6b3873000a1f0a16636f6f7264696e6174696f6e2e6b38732e696f2f763112054c6561736512\
        310a1a0a026e3112001a0022002a003200380042005a060a016112016212130a026e31102822\
        0b08a0b5bad806108094ef3a1a002200";

    /// The same way: a Pod with a quantity, a probe of a port, and two numbers of ports.
    const POD: &str = "6b3873000a090a0276311203506f64129e010a110a017012001a0022002a0032003800420012\
        7412540a01631201692a00320b0a0010903f185022002a00420f0a0d0a0363707512060a0432\
        35306d5a1c0a10120e0a001206080010501a001a002200100018002000280030006a00720080\
        0100880100900100a201001a00320042004a0052026e315801600068008201008a01009a0100\
        c201001a130a001a0022002a0032004a005a0072008801001a002200";

    #[test]
    fn what_a_go_client_writes_is_read() {
        let lease = decode(message("Lease"), &bytes(LEASE)).unwrap();
        let pod = decode(message("Pod"), &bytes(POD)).unwrap();

        assert_eq!((&lease["kind"], &lease["metadata"]["name"]), (&json!("Lease"), &json!("n1")));
        assert_eq!(lease["metadata"]["labels"], json!({ "a": "b" }));
        assert_eq!(
            lease["spec"],
            json!({
                "holderIdentity": "n1", "leaseDurationSeconds": 40,
                "renewTime": "2026-12-01T10:00:00.123456Z",
            })
        );
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["resources"]["limits"], json!({ "cpu": "250m" }));
        assert_eq!(container["readinessProbe"]["httpGet"]["port"], 80);
        assert_eq!(container["ports"], json!([{ "containerPort": 80, "hostPort": 8080 }]));
        assert_eq!(pod["spec"]["nodeName"], "n1");
        assert_eq!(pod["spec"]["hostNetwork"], true);
    }

    #[test]
    fn a_body_that_ends_anywhere_is_read_or_refused() {
        for body in [bytes(LEASE), bytes(POD)] {
            for end in 0..body.len() {
                let _ = decode(message("Pod"), &body[..end]);
            }
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|it| it.to_digit(16)).collect();
        digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
    }
}
