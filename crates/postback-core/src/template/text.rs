//! Text templates: header values, bodies, `policy.ref`. Only `{name}` with its modifier and fallback is known, and
//! whatever else a brace stands for is left alone, so that a JSON text works as it is.

use super::{
    Encoding, Misfit, Modifier, Names, Placeholder,
    expand::{Expansion, Style},
};
use crate::value::{Row, Value, push_json_escaped};

#[cfg(test)]
mod tests;

/// A text with placeholders; any text is one.
///
/// A placeholder is `{name}`, `{name:3}`, `{name*}`, each also with a `|fallback` that may hold anything but braces.
/// Names are letters, digits, `_`, `-` and `.`. `{{` is a literal brace, and so is the next `}}` after it; every other
/// brace that belongs to no placeholder stays as it is, the `}}` that ends a nested JSON object among them.
#[derive(Debug)]
pub struct TextTemplate {
    parts: Vec<Part>,
    encoding: Encoding,
    /// What a result is likely to need, in bytes.
    likely: usize,
    /// The bytes of the literal parts.
    literal: usize,
}

#[derive(Debug)]
enum Part {
    Literal(String),
    Text(Placeholder),
    /// The value's JSON, in place of a string that was nothing but this placeholder.
    Json(Placeholder),
}

impl TextTemplate {
    /// Reads a text; its values will be written by `encoding`.
    pub fn parse(text: &str, encoding: Encoding, names: &mut Names) -> TextTemplate {
        TextTemplate::new(split(text, names), encoding)
    }

    /// Reads a JSON text, each string of which is a template, but for the keys. A string that is nothing but one
    /// placeholder takes the value's JSON type; with a prefix it stays a string.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub fn parse_json(json: &str, names: &mut Names) -> Result<TextTemplate, serde_json::Error> {
        serde_json::from_str::<serde::de::IgnoredAny>(json)?;
        let (mut parts, mut rest) = (Vec::new(), json);
        while let Some(open) = rest.find('"') {
            push_literal(&mut parts, &rest[..open]);
            let (string, after) = rest[open..].split_at(string_length(&rest[open..]));
            rest = after;
            if after.trim_ascii_start().starts_with(':') {
                push_literal(&mut parts, string);
            } else {
                push_string(&mut parts, split(&serde_json::from_str::<String>(string)?, names));
            }
        }
        push_literal(&mut parts, rest);
        Ok(TextTemplate::new(parts, Encoding::Json))
    }

    fn new(parts: Vec<Part>, encoding: Encoding) -> TextTemplate {
        let likely = |part: &Part| if let Part::Literal(text) = part { text.len() } else { 24 };
        let likely = parts.iter().map(likely).sum();
        let literal = |part: &Part| if let Part::Literal(text) = part { text.len() } else { 0 };
        let literal = parts.iter().map(literal).sum();
        TextTemplate { parts, encoding, likely, literal }
    }

    /// The text that a row makes of it, at most `limit` bytes.
    ///
    /// # Errors
    /// When a value does not fit its placeholder or the text would be longer.
    pub fn fill(&self, row: &Row<'_>, limit: usize) -> Result<String, Misfit> {
        let mut out = String::with_capacity(self.likely);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Text(placeholder) => self.push(placeholder, row, limit, &mut out)?,
                Part::Json(placeholder) => {
                    placeholder.json(row).unwrap_or(&Value::Null).push_json(&mut out);
                }
            }
            if out.len() > limit {
                return Err(Misfit::TooLong);
            }
        }
        Ok(out)
    }

    /// For a row that surely can be filled in, with no text that `is_bad`: the most bytes that it comes to. `None`
    /// where there are lists or objects, too.
    pub(crate) fn bound(&self, row: &Row<'_>, is_bad: impl Fn(&str) -> bool) -> Option<usize> {
        let mut bound = self.literal;
        for part in &self.parts {
            let (value, quotes) = match part {
                Part::Literal(_) => continue,
                Part::Text(placeholder) => (placeholder.value(row), 0),
                Part::Json(placeholder) => (placeholder.json(row), 2),
            };
            bound += match value {
                None | Some(Value::Null) => "null".len(),
                Some(Value::Text(text) | Value::Literal(text)) if !is_bad(text) => {
                    quotes + self.encoding.growth() * text.len()
                }
                Some(_) => return None,
            };
        }
        Some(bound)
    }

    /// The places of the names whose own text, filled in, is one that `is_bad` says it is.
    pub(crate) fn find(&self, row: &Row<'_>, is_bad: impl Fn(&str) -> bool) -> Option<usize> {
        self.parts.iter().find_map(|part| {
            let (Part::Text(placeholder) | Part::Json(placeholder)) = part else { return None };
            let mut text = String::new();
            self.push(placeholder, row, usize::MAX, &mut text).ok()?;
            is_bad(&text).then_some(placeholder.name)
        })
    }

    fn push(
        &self,
        placeholder: &Placeholder,
        row: &Row<'_>,
        limit: usize,
        out: &mut String,
    ) -> Result<(), Misfit> {
        let Some(value) = placeholder.value(row) else { return Ok(()) };
        let style = &Style::bare(self.encoding);
        Expansion { placeholder, key: "", style, limit, out }.push(value)
    }
}

impl Placeholder {
    /// The value or else the default; an empty list is a value of JSON's.
    fn json<'r>(&'r self, row: &'r Row<'_>) -> Option<&'r Value<'r>> {
        match row.get(self.name) {
            None | Some(Value::Null) => self.default.as_deref(),
            value => value,
        }
    }
}

/// Splits a text into literal parts and placeholders.
fn split(text: &str, names: &mut Names) -> Vec<Part> {
    let (mut parts, mut rest, mut open) = (Vec::new(), text, 0usize);
    while let Some(at) = rest.find(['{', '}']) {
        push_literal(&mut parts, &rest[..at]);
        rest = &rest[at..];
        let (literal, length) = match rest.as_bytes() {
            [b'{', b'{', ..] => {
                open += 1;
                ("{", 2)
            }
            [b'}', b'}', ..] if open > 0 => {
                open -= 1;
                ("}", 2)
            }
            [b'{', ..] => match placeholder(rest, names) {
                Some((placeholder, length)) => {
                    parts.push(Part::Text(placeholder));
                    ("", length)
                }
                None => ("{", 1),
            },
            _ => ("}", 1),
        };
        push_literal(&mut parts, literal);
        rest = &rest[length..];
    }
    push_literal(&mut parts, rest);
    parts
}

/// The placeholder that a text begins with, and its length.
fn placeholder(text: &str, names: &mut Names) -> Option<(Placeholder, usize)> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find(['{', '}']).filter(|end| inner[*end..].starts_with('}'))?;
    let (variable, fallback) = match inner[..end].split_once('|') {
        Some((variable, fallback)) => (variable, Some(fallback)),
        None => (&inner[..end], None),
    };
    let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    let (name, modifier) =
        variable.split_at(variable.find(|c| !is_name(c)).unwrap_or(variable.len()));
    let modifier = Modifier::parse(modifier).filter(|_| !name.is_empty())?;
    Some((names.placeholder(name, modifier, fallback), end + 2))
}

fn push_literal(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Literal(before)) => before.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

/// The length of the JSON string that a text begins with, its quotes counted.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Appends the template that was a JSON string.
fn push_string(parts: &mut Vec<Part>, mut string: Vec<Part>) {
    if let [Part::Text(only)] = string.as_slice()
        && !matches!(only.modifier, Modifier::Prefix(_))
    {
        parts.extend(string.pop().map(|part| match part {
            Part::Text(only) => Part::Json(only),
            other => other,
        }));
        return;
    }
    push_literal(parts, "\"");
    for part in string {
        match part {
            Part::Literal(text) => {
                let mut escaped = String::with_capacity(text.len());
                push_json_escaped(&text, &mut escaped);
                push_literal(parts, &escaped);
            }
            placeholder => parts.push(placeholder),
        }
    }
    push_literal(parts, "\"");
}
