//! `webhook-signature` by the Standard Webhooks specification (symmetric, `v1`).
//!
//! Signed is `<webhook-id>.<webhook-timestamp>.<body>`; a request without a body, such as a GET, signs an empty one.

use std::{fmt, path::Path};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Keys are 24 to 64 bytes (Standard Webhooks, "Signing secret").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// More keys than a rotation needs are a mistake, and each adds 48 bytes to every request.
const MOST_KEYS: usize = 8;

/// The keys of `--signing-key-file`, the first signs first. Shows none of them.
#[derive(Clone, Default)]
pub(crate) struct SigningKeys(Vec<Hmac<Sha256>>);

impl SigningKeys {
    /// Reads a file of one `whsec_…` a line.
    ///
    /// # Errors
    /// When it cannot be read, holds no key, or a line is no key; the line's number is told, never its text.
    pub(crate) fn read(path: &Path) -> anyhow::Result<SigningKeys> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the signing keys in {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("bad signing keys in {}", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<SigningKeys> {
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let keys = lines.map(|(number, line)| {
            let key = line.trim().strip_prefix("whsec_").and_then(|key| STANDARD.decode(key).ok());
            let key = key.filter(|key| KEY_BYTES.contains(&key.len())).with_context(|| {
                format!("line {number} is not `whsec_` and 24 to 64 bytes in base64")
            })?;
            Hmac::new_from_slice(&key).with_context(|| format!("line {number}"))
        });
        let keys = keys.collect::<anyhow::Result<Vec<_>>>()?;
        match keys.len() {
            0 => bail!("there is no key in it"),
            1..=MOST_KEYS => Ok(SigningKeys(keys)),
            n => bail!("{n} keys; at most {MOST_KEYS} are used"),
        }
    }

    /// The header's value, one signature a key; `None` without keys.
    pub(crate) fn sign(&self, id: &str, timestamp: u64, body: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let head = format!("{id}.{timestamp}.");
        let signatures = self.0.iter().map(|key| {
            let mac = key.clone().chain_update(&head).chain_update(body).finalize();
            format!("v1,{}", STANDARD.encode(mac.into_bytes()))
        });
        Some(signatures.collect::<Vec<_>>().join(" "))
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} signing keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_specification_s_own_vector_holds() {
        let keys = SigningKeys::parse(SECRET).unwrap();
        let signed =
            keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn each_key_signs_and_the_first_signs_first() {
        let other = format!("whsec_{}", STANDARD.encode([7; 32]));
        let both = SigningKeys::parse(&format!("{SECRET}\n\n{other}\n")).unwrap();
        let one = |text: &str| SigningKeys::parse(text).unwrap().sign("a", 1, "").unwrap();
        assert_eq!(both.sign("a", 1, ""), Some(format!("{} {}", one(SECRET), one(&other))));
        assert_eq!(SigningKeys::default().sign("a", 1, ""), None);
    }

    #[test]
    fn a_bad_file_is_told_by_line_and_without_the_secret() {
        for text in ["", "\n", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%"] {
            let error = format!("{:#}", SigningKeys::parse(text).unwrap_err());
            assert!(!error.contains("secret") && !error.contains("%%%"), "{error}");
        }
        let error = SigningKeys::parse(&format!("{SECRET}\nwhsec_x")).unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }
}
