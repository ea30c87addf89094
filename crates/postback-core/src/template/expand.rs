//! RFC 6570's expansion of one value (section 3.2.1), for every operator and for texts.

use std::borrow::Cow;

use super::{Encoding, Misfit, Modifier, Placeholder};
use crate::value::Value;

/// What an operator writes around and between values (RFC 6570, appendix A).
#[derive(Debug)]
pub(super) struct Style {
    /// Before the first value.
    pub(super) first: &'static str,
    /// Before each further one.
    pub(super) separator: &'static str,
    /// Whether a value goes by its name: `x=1`.
    pub(super) named: bool,
    /// What stands between a name and an empty value.
    pub(super) empty: &'static str,
    /// How values are written.
    pub(super) encoding: Encoding,
}

impl Style {
    /// Values by themselves.
    pub(super) const fn bare(encoding: Encoding) -> Style {
        Style { first: "", separator: ",", named: false, empty: "", encoding }
    }
}

/// One value on its way into a text of at most `limit` bytes.
pub(super) struct Expansion<'t> {
    /// The placeholder.
    pub(super) placeholder: &'t Placeholder,
    /// Its name as it is shown.
    pub(super) key: &'t str,
    /// What its operator writes.
    pub(super) style: &'t Style,
    /// The most bytes that `out` may hold.
    pub(super) limit: usize,
    /// Where to.
    pub(super) out: &'t mut String,
}

impl Expansion<'_> {
    /// Appends a defined value.
    pub(super) fn push(&mut self, value: &Value<'_>) -> Result<(), Misfit> {
        match (value, self.placeholder.modifier) {
            (Value::Null, _) => Ok(()),
            (Value::Text(text) | Value::Literal(text), Modifier::Prefix(length)) => {
                self.scalar(self.style.encoding.prefix(text, length))
            }
            (Value::Text(text) | Value::Literal(text), _) => self.scalar(text),
            (_, Modifier::Prefix(_)) => Err(Misfit::Prefix(self.placeholder.name)),
            (_, Modifier::None) => self.joined(value),
            (_, Modifier::Explode) => self.exploded(value),
        }
    }

    fn scalar(&mut self, text: &str) -> Result<(), Misfit> {
        if self.style.named {
            self.out.push_str(self.key);
            self.value_of_name(text);
        } else {
            self.encoded(text);
        }
        self.bounded()
    }

    /// A list as `a,b`, an object as `name,value,name,value`.
    fn joined(&mut self, value: &Value<'_>) -> Result<(), Misfit> {
        if self.style.named {
            self.out.push_str(self.key);
            self.out.push('=');
        }
        for (at, (name, text)) in members(value).enumerate() {
            self.out.push_str(if at > 0 { "," } else { "" });
            if let Some(name) = name {
                self.encoded(name);
                self.out.push(',');
            }
            self.encoded(&text);
            self.bounded()?;
        }
        Ok(())
    }

    /// Each member as if it were a variable; an object's by its own name. The names are data as the values are, and
    /// are encoded as these: RFC 6570 would let a `&` in one through.
    fn exploded(&mut self, value: &Value<'_>) -> Result<(), Misfit> {
        for (at, (name, text)) in members(value).enumerate() {
            self.out.push_str(if at > 0 { self.style.separator } else { "" });
            match name {
                None => {
                    self.scalar(&text)?;
                    continue;
                }
                Some(name) => self.encoded(name),
            }
            if self.style.named {
                self.value_of_name(&text);
            } else {
                self.out.push('=');
                self.encoded(&text);
            }
            self.bounded()?;
        }
        Ok(())
    }

    fn value_of_name(&mut self, text: &str) {
        self.out.push_str(if text.is_empty() { self.style.empty } else { "=" });
        self.encoded(text);
    }

    fn encoded(&mut self, text: &str) {
        self.style.encoding.push(text, self.out);
    }

    fn bounded(&self) -> Result<(), Misfit> {
        if self.out.len() > self.limit { Err(Misfit::TooLong) } else { Ok(()) }
    }
}

/// The members of a list or object that are not null, an object's with their names.
fn members<'v>(value: &'v Value<'_>) -> impl Iterator<Item = (Option<&'v str>, Cow<'v, str>)> {
    let (items, pairs): (&[Value<'_>], &[_]) = match value {
        Value::List(items) => (items, &[]),
        Value::Object(pairs) => (&[], pairs),
        Value::Null | Value::Text(_) | Value::Literal(_) => (&[], &[]),
    };
    let items = items.iter().map(|item| (None, item));
    let all = items.chain(pairs.iter().map(|(name, item)| (Some(name.as_ref()), item)));
    all.filter_map(|(name, item)| Some((name, text_of(item)?)))
}

/// The text of a member: of a list or an object in it the compact JSON.
fn text_of<'v>(value: &'v Value<'_>) -> Option<Cow<'v, str>> {
    match value {
        Value::Null => None,
        Value::Text(text) | Value::Literal(text) => Some(Cow::Borrowed(text)),
        Value::List(_) | Value::Object(_) => {
            let mut json = String::new();
            value.push_json(&mut json);
            Some(Cow::Owned(json))
        }
    }
}
