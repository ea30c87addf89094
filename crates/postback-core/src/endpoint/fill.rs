//! Filling in a row: the request that is sent, or why the row cannot be sent.

use std::ops::Range;

use thiserror::Error;

use super::{
    Body, Endpoint, MAX_BODY, MAX_HEADER, MAX_REF, MAX_URL, Unmatched, headers::has_control,
};
use crate::{
    template::{Expression, Misfit, Operator},
    value::{Row, Value},
};

/// A request as it is sent, but for the headers that deliver adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled<'e> {
    /// Path and query as sent; begins with `/`.
    pub target: String,
    /// Headers in the order given, at the end a `Content-Type` for a body whose own was not given.
    pub headers: Vec<(&'e str, String)>,
    /// Body, if one is sent.
    pub body: Option<String>,
    /// The caller's own name for the row; `None` where it would be empty.
    pub reference: Option<String>,
    /// The names that had no value, each once.
    pub unmatched: Vec<&'e str>,
}

/// Why a row cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FillError {
    /// A name without a value, which the policy refuses.
    #[error("`{0}` has no value: give it one, a fallback `{{{0}|…}}`, or change policy.unmatched")]
    Unmatched(String),
    /// A prefix is asked of a list or an object.
    #[error(
        "`{0}` is a list or an object, of which there is no prefix: leave out the `:n` behind its name"
    )]
    Prefix(String),
    /// A value makes a path segment that leads elsewhere.
    #[error("`{name}` makes the path segment `{segment}`, which leads to another path")]
    DotSegment {
        /// The first name of the placeholder.
        name: String,
        /// The segment.
        segment: String,
    },
    /// The URL is longer than [`MAX_URL`].
    #[error("the URL is longer than {MAX_URL} bytes")]
    UrlTooLong,
    /// A value brings a control character into a header.
    #[error("`{name}` brings a control character into the header `{header}`")]
    HeaderControl {
        /// The header's name.
        header: String,
        /// The placeholder's name.
        name: String,
    },
    /// A header's value is longer than [`MAX_HEADER`].
    #[error("the header `{0}` is longer than {MAX_HEADER} bytes")]
    HeaderTooLong(String),
    /// The body is longer than [`MAX_BODY`].
    #[error("the body is longer than {MAX_BODY} bytes")]
    BodyTooLong,
    /// The ref is longer than [`MAX_REF`].
    #[error("the ref is longer than {MAX_REF} bytes")]
    RefTooLong,
}

impl FillError {
    /// The name whose value is at fault, if it is that of one name.
    pub fn name(&self) -> Option<&str> {
        match self {
            FillError::Unmatched(name)
            | FillError::Prefix(name)
            | FillError::DotSegment { name, .. }
            | FillError::HeaderControl { name, .. } => Some(name),
            FillError::UrlTooLong
            | FillError::HeaderTooLong(_)
            | FillError::BodyTooLong
            | FillError::RefTooLong => None,
        }
    }
}

impl Endpoint {
    /// The request for a row. Values that the row lacks count as null.
    ///
    /// # Errors
    /// When the row's values do not make a request that may be sent.
    pub fn fill<'e>(&'e self, row: &Row<'_>) -> Result<Filled<'e>, FillError> {
        if let Some(name) = self.refused(row) {
            return Err(FillError::Unmatched(name.to_owned()));
        }
        Ok(Filled {
            unmatched: self.unmatched(row).collect(),
            target: self.target(row)?,
            headers: self.headers(row)?,
            reference: self.reference(row)?,
            // The longest last, so that a row at fault elsewhere costs little.
            body: self.body(row)?,
        })
    }

    /// The names that have no value in a row.
    pub(crate) fn unmatched(&self, row: &Row<'_>) -> impl Iterator<Item = &str> {
        self.absent(row).map(|at| self.names[at].as_str())
    }

    fn absent(&self, row: &Row<'_>) -> impl Iterator<Item = usize> {
        (0..self.names.len()).filter(|at| matches!(row.get(*at), None | Some(Value::Null)))
    }

    /// The first name without a value for which the row is refused.
    pub(super) fn refused(&self, row: &Row<'_>) -> Option<&str> {
        let rejects = self.template.unmatched == Unmatched::Reject;
        let refused = self.absent(row).find(|at| rejects && self.bare[*at])?;
        Some(&self.names[refused])
    }

    fn target(&self, row: &Row<'_>) -> Result<String, FillError> {
        let limit = MAX_URL.saturating_sub(self.before_target);
        let mut target = String::new();
        let filled = self.target.expand(row, limit, &mut target, |_, _| {});
        filled.map_err(|misfit| self.misfit(misfit, FillError::UrlTooLong))?;
        // The URL has no path, or one that begins with a `{/x}` without a value.
        let rooted = target.starts_with('/');
        if !rooted {
            target.insert(0, '/');
        }
        if target.len() > limit {
            return Err(FillError::UrlTooLong);
        }
        if self.target.fills_path() && segments(&target).any(|(_, segment)| is_dots(segment)) {
            self.check_segments(row, &target, usize::from(!rooted))?;
        }
        Ok(target)
    }

    /// Refuses a path that has a `.` or `..` in which a placeholder took part. Literal ones are sent as written.
    fn check_segments(&self, row: &Row<'_>, target: &str, shift: usize) -> Result<(), FillError> {
        let mut culprit = None;
        let mark = |expression: &Expression, bytes: Range<usize>| {
            let Some(bytes) = part_of_path(expression, bytes) else { return };
            let (start, end) = (bytes.start + shift, bytes.end + shift);
            let found = segments(target).find(|(at, segment)| {
                is_dots(segment) && *at <= end && start <= at + segment.len()
            });
            if let (None, Some((_, segment))) = (&culprit, found) {
                culprit = Some((expression.first_name(), segment.to_owned()));
            }
        };
        // It has been expanded before: this cannot fail.
        let expanded = self.target.expand(row, usize::MAX, &mut String::new(), mark);
        expanded.map_err(|misfit| self.misfit(misfit, FillError::UrlTooLong))?;
        match culprit {
            None => Ok(()),
            Some((name, segment)) => Err(FillError::DotSegment { name: self.name(name), segment }),
        }
    }

    fn headers(&self, row: &Row<'_>) -> Result<Vec<(&str, String)>, FillError> {
        let added = self.content_type.map(|value| ("Content-Type", value.to_owned()));
        let mut headers = Vec::with_capacity(self.headers.len() + usize::from(added.is_some()));
        for ((header, _), template) in self.template.headers.iter().zip(&self.headers) {
            let value = template
                .fill(row, MAX_HEADER)
                .map_err(|misfit| self.misfit(misfit, FillError::HeaderTooLong(header.clone())))?;
            if has_control(&value) {
                let name =
                    template.find(row, has_control).map_or_else(String::new, |at| self.name(at));
                return Err(FillError::HeaderControl { header: header.clone(), name });
            }
            headers.push((header.as_str(), value));
        }
        headers.extend(added);
        Ok(headers)
    }

    fn body(&self, row: &Row<'_>) -> Result<Option<String>, FillError> {
        match &self.body {
            Body::None => Ok(None),
            Body::Row => {
                let mut json = String::new();
                row.get(self.names.len()).unwrap_or(&Value::Null).push_json(&mut json);
                Ok(Some(json))
            }
            Body::Template(template) => {
                let body = template.fill(row, MAX_BODY);
                body.map(Some).map_err(|misfit| self.misfit(misfit, FillError::BodyTooLong))
            }
        }
    }

    /// The caller's own name for a row alone; `None` where it would be empty.
    ///
    /// # Errors
    /// As [`Endpoint::fill`].
    pub fn reference(&self, row: &Row<'_>) -> Result<Option<String>, FillError> {
        let reference = self.reference.as_ref().map(|template| template.fill(row, MAX_REF));
        let reference = reference.transpose();
        let reference = reference.map_err(|misfit| self.misfit(misfit, FillError::RefTooLong))?;
        Ok(reference.filter(|reference| !reference.is_empty()))
    }

    fn misfit(&self, misfit: Misfit, too_long: FillError) -> FillError {
        match misfit {
            Misfit::Prefix(name) => FillError::Prefix(self.name(name)),
            Misfit::TooLong => too_long,
        }
    }

    fn name(&self, at: usize) -> String {
        self.names.get(at).cloned().unwrap_or_default()
    }
}

/// The bytes of an expression's text that can be part of a path segment: a `{/x}` begins one and is no part of the
/// one before, a `{?x}` ends the path. One of these that wrote nothing is part of the segment only for what follows it,
/// which it leaves to the segment before: the range is then turned round.
fn part_of_path(expression: &Expression, bytes: Range<usize>) -> Option<Range<usize>> {
    match expression.operator() {
        Operator::Query | Operator::Fragment if !bytes.is_empty() => None,
        Operator::Path | Operator::Query | Operator::Fragment => Some(bytes.start + 1..bytes.end),
        _ => Some(bytes),
    }
}

/// The segments of the path, each with its place.
fn segments(target: &str) -> impl Iterator<Item = (usize, &str)> {
    let path = target.split('?').next().unwrap_or_default();
    path.split('/').scan(0, |next, segment| {
        let at = *next;
        *next += segment.len() + 1;
        Some((at, segment))
    })
}

/// Whether a segment is `.` or `..`, of which either dot may be written `%2e` (URL standard, section 4.1).
fn is_dots(segment: &str) -> bool {
    let (mut rest, mut dots) = (segment.as_bytes(), 0);
    loop {
        rest = match rest {
            [] => return dots == 1 || dots == 2,
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return false,
        };
        dots += 1;
    }
}
