//! What to call: method, URL, headers and body, checked once and filled in for each row.
//!
//! `endpoint/origin.rs` takes the URL apart, `endpoint/headers.rs` says which headers may be set, `endpoint/fill.rs`
//! fills in a row, `endpoint/bound.rs` sees of most rows that they can be filled in. Which addresses and ports may be
//! reached is deliver's to judge.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::template::{Encoding, Names, Operator, TemplateError, TextTemplate, UrlTemplate};

mod bound;
mod fill;
mod headers;
mod origin;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use self::{
    fill::{FillError, Filled},
    headers::HeaderError,
    origin::{Origin, UrlError},
};

/// The longest URL that may be sent, in bytes.
pub const MAX_URL: usize = 8 * 1024;
/// The most headers an endpoint may set.
pub const MAX_HEADERS: usize = 50;
/// The longest value of a header that may be sent, in bytes.
pub const MAX_HEADER: usize = 8 * 1024;
/// The longest body that may be made by a template, in bytes. A row that is the body is not longer than it arrived.
pub const MAX_BODY: usize = 64 * 1024 * 1024;
/// The longest `ref`, in bytes: it is in every line of the log.
pub const MAX_REF: usize = 1024;

/// The HTTP methods a postback may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are the methods' own")]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Head,
}

impl Method {
    /// The method as sent: upper case.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
            Method::Head => "HEAD",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The body as given: the stored form (postcard).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyTemplate {
    /// No body.
    None,
    /// The row itself, as the JSON text that arrived.
    Row,
    /// A text with placeholders, inserted by the content type.
    Text(String),
    /// A JSON object or array (compact text) whose strings are templates.
    Json(String),
}

/// An endpoint as given and as stored: texts only. [`Endpoint::compile`] checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointTemplate {
    /// HTTP method.
    pub method: Method,
    /// URL template.
    pub url: String,
    /// Header names and value templates, in order.
    pub headers: Vec<(String, String)>,
    /// Body template.
    pub body: BodyTemplate,
    /// `policy.ref`: the template of the caller's own name for a row.
    pub reference: Option<String>,
    /// What a placeholder without a value and without its own fallback gets.
    pub unmatched: Unmatched,
}

/// What a placeholder without a value and without its own fallback gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unmatched {
    /// This text; empty: the name is undefined as in RFC 6570.
    Text(String),
    /// The row is refused.
    Reject,
}

/// What is wrong with an endpoint, and where: its Display is the reason alone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct EndpointError {
    place: String,
    fault: Fault,
}

/// What is wrong with a part of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum Fault {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("not a JSON object or list: {0}")]
    Body(String),
}

impl EndpointError {
    fn at(place: impl Into<String>, fault: impl Into<Fault>) -> EndpointError {
        EndpointError { place: place.into(), fault: fault.into() }
    }

    /// Whether the URL leads to where nothing may be sent, whatever its path and query.
    pub fn is_url(&self) -> bool {
        matches!(self.fault, Fault::Url(_))
    }

    /// The field that is wrong: `endpoint.url`, `endpoint.headers.X-A`, `endpoint.body`.
    pub fn place(&self) -> &str {
        &self.place
    }
}

/// An endpoint that may be called, cheap to fill in.
#[derive(Debug)]
pub struct Endpoint {
    template: EndpointTemplate,
    origin: Origin,
    /// The URL before its path, in bytes.
    before_target: usize,
    target: UrlTemplate,
    headers: Vec<TextTemplate>,
    content_type: Option<&'static str>,
    body: Body,
    reference: Option<TextTemplate>,
    names: Vec<String>,
    /// Of each name whether a placeholder has it without a fallback, so that `unmatched` may refuse the row for it.
    bare: Vec<bool>,
}

#[derive(Debug)]
enum Body {
    None,
    Row,
    Template(TextTemplate),
}

impl Endpoint {
    /// Checks an endpoint and prepares it for many rows.
    ///
    /// # Errors
    /// When the URL, a header or the body is not one that may be sent.
    pub fn compile(template: EndpointTemplate) -> Result<Endpoint, EndpointError> {
        Endpoint::compile_all(template).map_err(|mut faults| faults.swap_remove(0))
    }

    /// The same, and looks for further faults behind the first.
    ///
    /// # Errors
    /// At least one: in URL and body the first, and that of each header.
    pub fn compile_all(template: EndpointTemplate) -> Result<Endpoint, Vec<EndpointError>> {
        let unmatched = match &template.unmatched {
            Unmatched::Text(text) => text.as_str(),
            Unmatched::Reject => "",
        };
        let (mut names, mut faults) = (Names::new(unmatched), Vec::new());
        let url = url(&template.url, &mut names)
            .map_err(|fault| faults.push(EndpointError::at("endpoint.url", fault)));
        let headers = headers::compile(&template.headers, &mut names, &mut faults);
        let given = headers::content_type(&template.headers);
        let body = body(&template.body, given, &mut names)
            .map_err(|fault| faults.push(EndpointError::at("endpoint.body", fault)));
        let (Ok((origin, target)), Ok(body), []) = (url, body, &faults[..]) else {
            return Err(faults);
        };
        let text = |text: &String| TextTemplate::parse(text, Encoding::Raw, &mut names);
        let reference = template.reference.as_ref().map(text);
        let (names, bare) = names.into_parts();
        Ok(Endpoint {
            before_target: origin.url("").len(),
            content_type: default_content_type(&template.body).filter(|_| given.is_none()),
            template,
            origin,
            target,
            headers,
            body,
            reference,
            names,
            bare,
        })
    }

    /// What it was compiled from.
    pub fn template(&self) -> &EndpointTemplate {
        &self.template
    }

    /// The names that rows must supply, in order of first use: URL, headers, body, ref.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether the row itself is the body: then a row carries one more value, its JSON text.
    pub fn body_is_row(&self) -> bool {
        matches!(self.body, Body::Row)
    }

    /// Where it leads.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }
}

fn url(url: &str, names: &mut Names) -> Result<(Origin, UrlTemplate), Fault> {
    let (origin, path) = Origin::split(url)?;
    let target = UrlTemplate::parse(url, path, names)?;
    if target.expressions().any(|expression| expression.operator() == Operator::Fragment) {
        return Err(UrlError::FragmentPlaceholder.into());
    }
    Ok((origin, target))
}

fn body(body: &BodyTemplate, content_type: Option<&str>, names: &mut Names) -> Result<Body, Fault> {
    match body {
        BodyTemplate::None => Ok(Body::None),
        BodyTemplate::Row => Ok(Body::Row),
        BodyTemplate::Text(text) => {
            let encoding = content_type.map_or(Encoding::Raw, headers::encoding);
            Ok(Body::Template(TextTemplate::parse(text, encoding, names)))
        }
        BodyTemplate::Json(json) => {
            if !json.trim_ascii_start().starts_with(['{', '[']) {
                return Err(Fault::Body("it begins with another character".to_owned()));
            }
            let template = TextTemplate::parse_json(json, names);
            template.map(Body::Template).map_err(|error| Fault::Body(error.to_string()))
        }
    }
}

fn default_content_type(body: &BodyTemplate) -> Option<&'static str> {
    match body {
        BodyTemplate::None => None,
        BodyTemplate::Row | BodyTemplate::Json(_) => Some("application/json"),
        BodyTemplate::Text(_) => Some("text/plain; charset=utf-8"),
    }
}
