//! URL templates: RFC 6570, all four levels, with any name and with fallbacks.
//!
//! Here a template is a text like any other; that it makes a URL that may be called is `endpoint`'s to see.

use std::ops::Range;

use super::{
    Encoding, Misfit, Modifier, Names, Placeholder, TemplateError,
    encode::{key, push_literal},
    expand::{Expansion, Style},
};
use crate::value::{Row, Value};

#[cfg(test)]
mod tests;

/// The character behind an opening brace (RFC 6570, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `{x}`
    Simple,
    /// `{+x}`
    Reserved,
    /// `{#x}`
    Fragment,
    /// `{.x}`
    Label,
    /// `{/x}`
    Path,
    /// `{;x}`
    Parameter,
    /// `{?x}`
    Query,
    /// `{&x}`
    QueryMore,
}

const fn unnamed(first: &'static str, separator: &'static str, encoding: Encoding) -> Style {
    Style { first, separator, ..Style::bare(encoding) }
}

const fn named(first: &'static str, separator: &'static str, empty: &'static str) -> Style {
    Style { first, separator, named: true, empty, encoding: Encoding::Unreserved }
}

impl Operator {
    /// The operator that a placeholder's text begins with, and the text behind it.
    fn split(text: &str) -> (Operator, &str) {
        let operator = match text.as_bytes().first() {
            Some(b'+') => Operator::Reserved,
            Some(b'#') => Operator::Fragment,
            Some(b'.') => Operator::Label,
            Some(b'/') => Operator::Path,
            Some(b';') => Operator::Parameter,
            Some(b'?') => Operator::Query,
            Some(b'&') => Operator::QueryMore,
            _ => return (Operator::Simple, text),
        };
        (operator, &text[1..])
    }

    fn style(self) -> &'static Style {
        match self {
            Operator::Simple => const { &Style::bare(Encoding::Unreserved) },
            Operator::Reserved => const { &Style::bare(Encoding::Reserved) },
            Operator::Fragment => const { &unnamed("#", ",", Encoding::Reserved) },
            Operator::Label => const { &unnamed(".", ".", Encoding::Unreserved) },
            Operator::Path => const { &unnamed("/", "/", Encoding::Unreserved) },
            Operator::Parameter => const { &named(";", ";", "") },
            Operator::Query => const { &named("?", "&", "=") },
            Operator::QueryMore => const { &named("&", "&", "=") },
        }
    }
}

/// What stands between two braces.
#[derive(Debug)]
pub struct Expression {
    operator: Operator,
    /// Each with its name as it is shown.
    variables: Vec<(Placeholder, String)>,
}

/// A URL, or a part of one, with placeholders.
#[derive(Debug)]
pub struct UrlTemplate {
    parts: Vec<Part>,
    /// What an expansion is likely to need, in bytes.
    likely: usize,
    /// The most bytes that an expansion has beside its values.
    fixed: usize,
    /// So many parts stand before the first literal `?`.
    before_query: usize,
}

#[derive(Debug)]
enum Part {
    Literal(String),
    Expression(Expression),
}

impl Expression {
    /// The operator.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The place of its first name.
    pub fn first_name(&self) -> usize {
        self.variables.first().map_or(0, |(placeholder, _)| placeholder.name)
    }

    /// Reads what is between the braces; `at` is the opening one's position.
    fn parse(text: &str, at: usize, names: &mut Names) -> Result<Expression, TemplateError> {
        let (operator, list) = Operator::split(text);
        let read = |variable: &str| {
            let (variable, fallback) = match variable.split_once('|') {
                Some((variable, fallback)) => (variable, Some(fallback)),
                None => (variable, None),
            };
            let end = variable.find([':', '*']).unwrap_or(variable.len());
            let (name, modifier) = variable.split_at(end);
            if name.is_empty() {
                return Err(TemplateError::NoName(at));
            }
            let modifier = Modifier::parse(modifier).ok_or(TemplateError::Modifier(at))?;
            Ok((names.placeholder(name, modifier, fallback), key(name)))
        };
        Ok(Expression { operator, variables: list.split(',').map(read).collect::<Result<_, _>>()? })
    }

    /// The most bytes that its values come to, percent-encoded. `None` for lists and objects, and in a path where no
    /// value is seen to keep its segment from being one of dots.
    fn bound(&self, row: &Row<'_>, in_path: &mut bool) -> Option<usize> {
        let (mut bound, mut is_empty) = (0, true);
        for (placeholder, _) in &self.variables {
            match placeholder.value(row) {
                None => {}
                Some(Value::Text(text) | Value::Literal(text)) => {
                    let is_plain = text.starts_with(|first: char| first.is_ascii_alphanumeric());
                    if *in_path && self.operator == Operator::Simple && !is_plain {
                        return None;
                    }
                    (bound, is_empty) = (bound + 3 * text.len(), false);
                }
                Some(_) => return None,
            }
        }
        match self.operator {
            Operator::Query if !is_empty => *in_path = false,
            Operator::Simple if !is_empty => {}
            _ if *in_path => return None,
            _ => {}
        }
        Some(bound)
    }

    fn expand(&self, row: &Row<'_>, limit: usize, out: &mut String) -> Result<(), Misfit> {
        let style = self.operator.style();
        let mut lead = style.first;
        for (placeholder, key) in &self.variables {
            if let Some(value) = placeholder.value(row) {
                out.push_str(lead);
                lead = style.separator;
                Expansion { placeholder, key, style, limit, out }.push(value)?;
            }
        }
        Ok(())
    }
}

impl UrlTemplate {
    /// Reads `text` from byte `start` on. Literal characters that no URL may hold are percent-encoded.
    ///
    /// # Errors
    /// When a brace has no partner or a placeholder is not written as RFC 6570 and the additions say.
    ///
    /// # Panics
    /// When `start` is not at a character of `text` or its end.
    pub fn parse(
        text: &str,
        start: usize,
        names: &mut Names,
    ) -> Result<UrlTemplate, TemplateError> {
        let position = |byte: usize| text[..byte].chars().count() + 1;
        let (mut parts, mut at) = (Vec::new(), start);
        while at < text.len() {
            let open = text[at..].find(['{', '}']).map_or(text.len(), |next| at + next);
            if open > at {
                let mut literal = String::new();
                push_literal(&text[at..open], &mut literal);
                parts.push(Part::Literal(literal));
            }
            let Some(inner) = text[open..].strip_prefix('{') else {
                if open < text.len() {
                    return Err(TemplateError::Stray(position(open)));
                }
                break;
            };
            let end = inner.find(['{', '}']).filter(|end| inner[*end..].starts_with('}'));
            let end = end.ok_or_else(|| TemplateError::Unclosed(position(open)))?;
            parts.push(Part::Expression(Expression::parse(&inner[..end], position(open), names)?));
            at = open + 1 + end + 1;
        }
        let likely = parts.iter().map(Part::likely).sum();
        let fixed = parts.iter().map(Part::fixed).sum();
        let query = |part: &Part| matches!(part, Part::Literal(text) if text.contains('?'));
        let before_query = parts.iter().position(query).unwrap_or(parts.len());
        Ok(UrlTemplate { parts, likely, fixed, before_query })
    }

    /// Appends the text that a row makes of it, as long as `out` stays within `limit` bytes. `mark` is told of each
    /// expression and the bytes that it wrote.
    ///
    /// # Errors
    /// When a value does not fit its placeholder or the limit is reached.
    pub fn expand(
        &self,
        row: &Row<'_>,
        limit: usize,
        out: &mut String,
        mut mark: impl FnMut(&Expression, Range<usize>),
    ) -> Result<(), Misfit> {
        out.reserve(self.likely);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Expression(expression) => {
                    let start = out.len();
                    expression.expand(row, limit, out)?;
                    mark(expression, start..out.len());
                }
            }
        }
        if out.len() > limit { Err(Misfit::TooLong) } else { Ok(()) }
    }

    /// The expressions, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Expression(expression) => Some(expression),
        })
    }

    /// Whether an expression stands before the first literal `?`: it may write into the path, or join what is around it
    /// by writing nothing.
    pub fn fills_path(&self) -> bool {
        self.parts[..self.before_query].iter().any(|part| matches!(part, Part::Expression(_)))
    }

    /// For a row that surely can be expanded, and makes no segment of dots: the most bytes that it comes to.
    pub(crate) fn bound(&self, row: &Row<'_>) -> Option<usize> {
        let (mut bound, mut in_path) = (self.fixed, true);
        for (at, part) in self.parts.iter().enumerate() {
            in_path &= at < self.before_query;
            if let Part::Expression(expression) = part {
                bound += expression.bound(row, &mut in_path)?;
            }
        }
        Some(bound)
    }
}

impl Part {
    fn fixed(&self) -> usize {
        match self {
            Part::Literal(text) => text.len(),
            Part::Expression(expression) => {
                // Before a value at most one character, its name, and one more.
                expression.variables.iter().map(|(_, key)| key.len() + 2).sum()
            }
        }
    }

    fn likely(&self) -> usize {
        match self {
            Part::Literal(text) => text.len(),
            Part::Expression(expression) => {
                expression.variables.iter().map(|(_, key)| key.len() + 24).sum()
            }
        }
    }
}
