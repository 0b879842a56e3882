//! JSON lines: one object a line; one field is the key, the value is another field
//! or the whole line as it stands.

use super::{Lines, Problem, Records};
use crate::escape::unhex;
use serde_json::{Map, Value};
use std::io::BufRead;

/// Reads a file of JSON lines.
pub(crate) struct JsonRecords<R> {
    lines: Lines<R>,
    key_field: String,
    value_field: Option<String>,
}

impl<R: BufRead> JsonRecords<R> {
    /// Reads entries from `reader`.
    pub(crate) const fn new(reader: R, key_field: String, value_field: Option<String>) -> Self {
        Self { lines: Lines::new(reader), key_field, value_field }
    }
}

impl<R: BufRead> Records for JsonRecords<R> {
    fn read(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool, Problem> {
        key.clear();
        value.clear();
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let object: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| Problem::NotJson(error.to_string()))?;
        let field = |name: &str| object.get(name).ok_or_else(|| Problem::NoField(name.to_owned()));
        match bytes_of(field(&self.key_field)?)? {
            Some(mut bytes) => key.append(&mut bytes),
            None => return Err(Problem::NotAKey(self.key_field.clone())),
        }
        match &self.value_field {
            None => value.extend_from_slice(line),
            Some(name) => {
                let json = field(name)?;
                match bytes_of(json)? {
                    Some(mut bytes) => value.append(&mut bytes),
                    None => value.extend_from_slice(json.to_string().as_bytes()),
                }
            }
        }
        Ok(true)
    }

    fn line(&self) -> u64 {
        self.lines.line()
    }
}

/// The bytes that a string, an integer or `{"hex": "…"}` stands for. A fraction has
/// more than one spelling, so it is no key.
fn bytes_of(json: &Value) -> Result<Option<Vec<u8>>, Problem> {
    Ok(match json {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string().into_bytes()),
        Value::Object(object) => match (object.len(), object.get("hex")) {
            (1, Some(Value::String(text))) => Some(unhex(text.as_bytes())?),
            _ => None,
        },
        _ => None,
    })
}
