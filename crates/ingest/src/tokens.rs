//! Bearer tokens (RFC 6750): read from a file, kept as digests, compared in constant time.

use std::{
    borrow::Cow,
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use actix_web::http::{
    StatusCode,
    header::{AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE},
};
use anyhow::{Context as _, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::problem::Problem;

/// Shorter tokens, in characters, are warned of: they can be guessed. `openssl rand -hex 32` makes 64.
const SHORT: usize = 16;
/// The longest file, in lines and in bytes.
const MOST_LINES: usize = 1_000;
const MOST_BYTES: u64 = 1 << 20;
/// Others than owner and group may do nothing with the file, and the group may not change it. The group may read it: a
/// file of root's that a daemon without root's rights reads is `root:postback`, 0640.
const FORBIDDEN: u32 = 0o027;

/// SHA-256 of a token.
type Digest = [u8; 32];

/// Who asked, as far as tokens tell. In the extensions of every request that got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The digest of the token that it came with; `None` where none is needed.
    pub(crate) token: Option<Digest>,
}

impl Caller {
    /// Whose idempotency keys a request's own is among: one token's, or everybody's where there are no tokens.
    pub(crate) fn key_space(&self) -> &[u8] {
        self.token.as_ref().map_or(&[], |digest| &digest[..])
    }
}

/// The tokens that a listener takes. The tokens themselves are nowhere in memory once the file is read.
pub(crate) struct Tokens {
    /// The option that names the file.
    option: &'static str,
    path: PathBuf,
    digests: RwLock<Vec<Digest>>,
}

impl Tokens {
    /// Reads a file of one token a line; blank lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// When it cannot be read, holds no token, or a line is none; the line's number is told, never its text.
    pub(crate) fn open(option: &'static str, path: &Path) -> anyhow::Result<Tokens> {
        let digests = RwLock::new(read(option, path)?);
        Ok(Tokens { option, path: path.to_owned(), digests })
    }

    /// Reads the file again. Where it has become bad, the tokens that are known stay good.
    pub(crate) fn reread(&self) {
        match read(self.option, &self.path) {
            Ok(digests) => {
                log::info!("{} {}: {} tokens", self.option, self.path.display(), digests.len());
                *self.digests.write().unwrap_or_else(PoisonError::into_inner) = digests;
            }
            Err(error) => log::error!("the tokens stay as they were: {error:#}"),
        }
    }

    /// Who a request's `Authorization` says that it is. `basic`: a browser may bring the token as a password, too.
    pub(crate) fn caller(&self, headers: &HeaderMap, basic: bool) -> Result<Caller, Problem> {
        let refused = |error, detail| refused(error, detail, basic);
        let mut given = headers.get_all(AUTHORIZATION);
        let token = given.next().and_then(|value| {
            let bearer = bearer(value.as_bytes()).map(Cow::Borrowed);
            bearer.or_else(|| password(value.as_bytes()).filter(|_| basic).map(Cow::Owned))
        });
        let Some(first) = token else {
            return Err(refused("", "send the header `Authorization: Bearer` and a token"));
        };
        let token = Sha256::digest(first).into();
        if given.next().is_none() && self.has(&token) {
            return Ok(Caller { token: Some(token) });
        }
        Err(refused(r#", error="invalid_token""#, "this token is not, or no longer, good"))
    }

    /// Looks at every token, whether one has been found or not.
    fn has(&self, token: &Digest) -> bool {
        let digests = self.digests.read().unwrap_or_else(PoisonError::into_inner);
        let found = digests.iter().map(|known| known.ct_eq(token));
        found.fold(Choice::from(0), |found, equal| found | equal).into()
    }
}

/// A challenge has at least one parameter (RFC 6750, section 3): the realm.
fn refused(error: &str, detail: &str, basic: bool) -> Problem {
    // A browser asks its user on the second challenge only; the user's name is of no account.
    let basic = if basic { r#", Basic realm="postback", charset="UTF-8""# } else { "" };
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        .with(WWW_AUTHENTICATE, format!(r#"Bearer realm="postback"{error}{basic}"#))
}

/// The password of Basic credentials (RFC 7617).
fn password(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    Some(decoded[colon + 1..].to_vec())
}

/// What follows the scheme, which is written in any case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn read(option: &str, path: &Path) -> anyhow::Result<Vec<Digest>> {
    let name = || format!("{option} {}", path.display());
    let bytes = open(option, path).with_context(|| format!("cannot read {}", name()))?;
    parse(&bytes).with_context(name)
}

fn open(option: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    // Before it is opened: a pipe would hold us up, and could not be read a second time.
    ensure!(path.metadata()?.is_file(), "it is not a regular file");
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & FORBIDDEN != 0 {
        let path = path.display();
        log::warn!("{option} {path} is open to other users (mode {mode:o}): chmod 640 it");
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> anyhow::Result<Vec<Digest>> {
    ensure!(bytes.len() as u64 <= MOST_BYTES, "it is longer than 1 MiB");
    let mut digests = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        ensure!(number <= MOST_LINES, "line {number}: at most {MOST_LINES} lines are read");
        let fits = line.iter().all(u8::is_ascii_graphic);
        ensure!(fits, "line {number} is no token: one word of visible ASCII characters");
        if line.len() < SHORT {
            log::warn!("the token in line {number} is short: take at least {SHORT} characters");
        }
        digests.push(Sha256::digest(line).into());
    }
    if digests.is_empty() {
        bail!("there is no token in it");
    }
    Ok(digests)
}

#[cfg(test)]
mod tests;
