//! The front of a URL: scheme, host and port, read by one parser whose result is both checked and called.
//!
//! Path and query are `template`'s: they are sent as written. Addresses are judged by deliver.

use thiserror::Error;
use url::Host;

/// The longest host name (RFC 1035, section 2.3.4), without a final dot.
const MAX_HOST: usize = 253;
/// The longest part of a host name between dots.
const MAX_LABEL: usize = 63;

/// Why a URL may not be called. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// Another scheme, or none.
    #[error("must begin with `http://` or `https://`")]
    Scheme,
    /// A control character.
    #[error("has a control character at character {0}: percent-encode it")]
    Control(usize),
    /// `user@` or `user:password@`.
    #[error("must not hold a user or password: send an `Authorization` header")]
    Userinfo,
    /// A placeholder before the path.
    #[error(
        "placeholders may stand in path and query only: begin the path with `/` behind the host"
    )]
    PlaceholderInHost,
    /// The host is empty, no name and no address.
    #[error("`{0}` is not a host name or address")]
    Host(String),
    /// The port is no number from 1 to 65535.
    #[error("`{0}` is not a port: it must be a number from 1 to 65535")]
    Port(String),
    /// A `#`.
    #[error("has a fragment at character {0}, which is never sent: leave it out, or write `%23`")]
    Fragment(usize),
    /// `{#x}`.
    #[error("has a `{{#…}}` placeholder, but fragments are never sent: leave it out")]
    FragmentPlaceholder,
}

/// Where a URL leads: what DNS, the connection and the lane depend on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// Normalised host: lower case, punycode, IPv4 dotted, IPv6 in brackets.
    pub host: String,
    /// Port, the scheme's default where the URL names none.
    pub port: u16,
}

impl Origin {
    /// Reads a URL template up to its path; returns where that begins, in bytes.
    pub(super) fn split(url: &str) -> Result<(Origin, usize), UrlError> {
        let position = |byte: usize| url[..byte].chars().count() + 1;
        if let Some(at) = url.find(char::is_control) {
            return Err(UrlError::Control(position(at)));
        }
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        let start = scheme.len() + "://".len();
        let length = rest.find(['/', '?', '#', '{']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(length);
        if target.starts_with('{') && !target.starts_with("{/") && !target.starts_with("{?") {
            return Err(UrlError::PlaceholderInHost);
        }
        if let Some(at) = fragment(target) {
            return Err(UrlError::Fragment(position(start + length + at)));
        }
        let (host, port) = host_and_port(authority)?;
        Ok((Origin { tls, host, port: port.unwrap_or(default_port(tls)) }, start + length))
    }

    /// The origins that an operator means by `host`, `host:port`, or either with its scheme in front: without a
    /// scheme those of both.
    ///
    /// # Errors
    /// When it is no host, or more than that.
    pub fn of_host(text: &str) -> Result<Vec<Origin>, UrlError> {
        let schemes = if text.contains("://") { &[""][..] } else { &["http://", "https://"] };
        let read = |scheme: &&str| {
            let url = format!("{scheme}{}", text.strip_suffix('/').unwrap_or(text));
            match Origin::split(&url)? {
                (origin, end) if end == url.len() => Ok(origin),
                _ => Err(UrlError::Host(text.to_owned())),
            }
        };
        schemes.iter().map(read).collect()
    }

    /// The URL with this path and query.
    pub fn url(&self, target: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}{target}", self.authority())
    }

    /// The `Host` header: with the port only where it is not the scheme's default.
    pub fn authority(&self) -> String {
        if self.port == default_port(self.tls) { self.host.clone() } else { self.host_port() }
    }

    /// `host:port`, always with the port.
    pub fn host_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// The first `#` that is outside braces.
fn fragment(target: &str) -> Option<usize> {
    let mut inside = false;
    target.bytes().position(|byte| {
        match byte {
            b'{' => inside = true,
            b'}' => inside = false,
            _ => {}
        }
        byte == b'#' && !inside
    })
}

fn host_and_port(authority: &str) -> Result<(String, Option<u16>), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::Userinfo);
    }
    // The colons of an IPv6 address are inside brackets.
    let (host, port) = match authority.rfind(':').filter(|colon| !authority[*colon..].contains(']'))
    {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    Ok((self::host(host)?, port.map(self::port).transpose()?))
}

fn host(text: &str) -> Result<String, UrlError> {
    let refuse = || UrlError::Host(text.to_owned());
    // The parser would decode `%` and take `\` for an end.
    if text.is_empty() || text.contains(['%', '\\', ' ']) {
        return Err(refuse());
    }
    match Host::parse(text).map_err(|_| refuse())? {
        Host::Domain(name) if is_name(&name) => Ok(name),
        Host::Domain(_) => Err(refuse()),
        address => Ok(address.to_string()),
    }
}

/// Letters, digits, `-` and `_` between dots; a final dot is kept, as it tells the resolver not to search.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(plain);
    name.len() <= MAX_HOST && name.split('.').all(label)
}

fn port(text: &str) -> Result<u16, UrlError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|port| digits && *port > 0);
    number.ok_or_else(|| UrlError::Port(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_an_operator_is_its_origins() {
        let check = |text: &str, expect: &[&str]| {
            let found = Origin::of_host(text).unwrap_or_default();
            let found: Vec<String> = found.iter().map(|origin| origin.url("/")).collect();
            assert_eq!(found, expect, "{text}");
        };
        check("a.com", &["http://a.com/", "https://a.com/"]);
        check("A.com:8080", &["http://a.com:8080/", "https://a.com:8080/"]);
        check("https://a.com", &["https://a.com/"]);
        check("http://a.com:443/", &["http://a.com:443/"]);
        check("[2606:4700::1]", &["http://[2606:4700::1]/", "https://[2606:4700::1]/"]);
        for text in ["", "a.com/x", "u@a.com", "a.com:0", "ftp://a.com", "a.com?x", "a b"] {
            check(text, &[]);
        }
    }
}
