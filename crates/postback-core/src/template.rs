//! Templates: texts with placeholders, read once, filled in for each row.
//!
//! `template/url.rs` is RFC 6570 with the additions of our request; `template/text.rs` serves headers and bodies.
//! Both resolve names to places in the row when they are read, and share what is here and in `template/expand.rs`:
//! what a placeholder is, and what it gets when its name has no value. Where the values come from is `request`'s.

use std::{collections::HashMap, sync::Arc};

use thiserror::Error;

use crate::value::{Row, Value};

mod encode;
mod expand;
#[cfg(test)]
mod rfc6570;
mod text;
mod url;

pub use self::{
    encode::Encoding,
    text::TextTemplate,
    url::{Expression, Operator, UrlTemplate},
};

/// The longest prefix `{x:9999}` (RFC 6570, section 2.4.1), in characters.
pub const MAX_PREFIX: u16 = 9999;

/// Why a text is no URL template. Positions count characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error("`{{` at character {0} is not closed: close it, or write `%7B` for the brace itself")]
    Unclosed(usize),
    /// A `}` without its `{`.
    #[error("`}}` at character {0} closes nothing: write `%7D` for the brace itself")]
    Stray(usize),
    /// `{}`, `{?}`, `{a,}`.
    #[error("the placeholder at character {0} has an empty name")]
    NoName(usize),
    /// Something else than `*` or `:1` to `:9999` after a name.
    #[error(
        "the placeholder at character {0} has a bad modifier: only `*` and `:1` to `:{MAX_PREFIX}` are known"
    )]
    Modifier(usize),
}

/// Why a template cannot be filled in with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// The value of this name is a list or an object, of which there is no prefix.
    Prefix(usize),
    /// The result would be longer than its limit.
    TooLong,
}

/// What follows a placeholder's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Modifier {
    None,
    /// `:n`, the first n characters.
    Prefix(u16),
    /// `*`, each member on its own.
    Explode,
}

impl Modifier {
    /// Reads `*`, `:1` to `:9999` or nothing.
    fn parse(text: &str) -> Option<Modifier> {
        match text {
            "" => return Some(Modifier::None),
            "*" => return Some(Modifier::Explode),
            _ => {}
        }
        let digits = text.strip_prefix(':')?;
        let canonical = !digits.starts_with(['0', '+']);
        let length = digits.parse().ok().filter(|n| canonical && (1..=MAX_PREFIX).contains(n))?;
        Some(Modifier::Prefix(length))
    }
}

/// One name in a template: where its value is and what becomes of it.
#[derive(Debug)]
struct Placeholder {
    name: usize,
    modifier: Modifier,
    default: Option<Arc<Value<'static>>>,
}

impl Placeholder {
    /// What is to be shown: the value, or else the default; `None` when the name is undefined.
    fn value<'r>(&'r self, row: &'r Row<'_>) -> Option<&'r Value<'r>> {
        match row.get(self.name) {
            None | Some(Value::Null) => self.default.as_deref(),
            Some(value) => Some(value).filter(|value| value.is_defined()),
        }
    }
}

/// The names that the templates of one endpoint use, in order of first use: the places of their values in a row.
#[derive(Debug)]
pub struct Names {
    all: Vec<String>,
    places: HashMap<String, usize>,
    bare: Vec<bool>,
    unmatched: Option<Arc<Value<'static>>>,
}

impl Names {
    /// No names yet. `unmatched` is what a placeholder without a value and a fallback of its own gets; empty: nothing.
    pub fn new(unmatched: &str) -> Names {
        let (all, places, bare) = (Vec::new(), HashMap::new(), Vec::new());
        Names { all, places, bare, unmatched: default(unmatched) }
    }

    /// The names and, for each, whether a placeholder uses it without a fallback of its own.
    pub fn into_parts(self) -> (Vec<String>, Vec<bool>) {
        (self.all, self.bare)
    }

    fn placeholder(
        &mut self,
        name: &str,
        modifier: Modifier,
        fallback: Option<&str>,
    ) -> Placeholder {
        let place = self.places.get(name).copied().unwrap_or_else(|| {
            self.places.insert(name.to_owned(), self.all.len());
            self.all.push(name.to_owned());
            self.bare.push(false);
            self.all.len() - 1
        });
        self.bare[place] |= fallback.is_none();
        let default = fallback.map_or_else(|| self.unmatched.clone(), default);
        Placeholder { name: place, modifier, default }
    }
}

fn default(text: &str) -> Option<Arc<Value<'static>>> {
    (!text.is_empty()).then(|| Arc::new(Value::Text(text.to_owned().into())))
}
