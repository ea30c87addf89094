//! Certificates for tests, made on the spot. Never to be trusted outside one.

use std::{
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    ec::{EcGroup, EcKey},
    hash::MessageDigest,
    nid::Nid,
    pkey::{PKey, Private},
    x509::{
        X509, X509Builder, X509Name,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

const DAY: i64 = 24 * 3600;

/// A certificate and its key.
pub(super) struct Certificate {
    x509: X509,
    key: PKey<Private>,
}

/// What a server's certificate is to be.
pub(super) struct Wish<'a> {
    /// Host names and addresses.
    pub(super) names: &'a [&'a str],
    /// Who signs it; `None`: it signs itself.
    pub(super) issuer: Option<&'a Certificate>,
    /// Whether its time is over.
    pub(super) expired: bool,
}

impl Certificate {
    /// A root, good from yesterday for a month.
    pub(super) fn root() -> anyhow::Result<Certificate> {
        let key = new_key()?;
        let name = name("postback-bench root")?;
        let mut builder = builder(&name, &key, -DAY, 30 * DAY)?;
        builder.set_issuer_name(&name)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Certificate { x509: builder.build(), key })
    }

    /// A server's certificate.
    pub(super) fn leaf(wish: &Wish<'_>) -> anyhow::Result<Certificate> {
        let key = new_key()?;
        let own = name("postback-bench sink")?;
        let (from, to) = if wish.expired { (-3 * DAY, -DAY) } else { (-DAY, 30 * DAY) };
        let mut builder = builder(&own, &key, from, to)?;
        let (issuer, signer) = match wish.issuer {
            Some(issuer) => (issuer.x509.subject_name(), &issuer.key),
            None => (&*own, &key),
        };
        builder.set_issuer_name(issuer)?;
        let mut names = SubjectAlternativeName::new();
        for name in wish.names {
            match name.parse::<IpAddr>() {
                Ok(_) => names.ip(name),
                Err(_) => names.dns(name),
            };
        }
        let names =
            names.build(&builder.x509v3_context(wish.issuer.map(|issuer| &*issuer.x509), None))?;
        builder.append_extension(names)?;
        builder.sign(signer, MessageDigest::sha256())?;
        Ok(Certificate { x509: builder.build(), key })
    }

    pub(super) fn pem(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.x509.to_pem()?)
    }

    pub(super) fn key_pem(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.key.private_key_to_pem_pkcs8()?)
    }
}

fn new_key() -> anyhow::Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

fn name(common: &str) -> anyhow::Result<X509Name> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, common)?;
    Ok(name.build())
}

/// A certificate without issuer and signature; `from` and `to` are seconds from now.
fn builder(
    subject: &X509Name,
    key: &PKey<Private>,
    from: i64,
    to: i64,
) -> anyhow::Result<X509Builder> {
    let mut builder = X509::builder()?;
    builder.set_version(2)?; // version 3, which has extensions
    // RFC 5280, 4.1.2.2: each certificate of an issuer has a number of its own.
    let mut serial = BigNum::new()?;
    serial.rand(127, openssl::bn::MsbOption::MAYBE_ZERO, false)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(subject)?;
    builder.set_pubkey(key)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    builder.set_not_before(&*Asn1Time::from_unix(now + from)?)?;
    builder.set_not_after(&*Asn1Time::from_unix(now + to)?)?;
    Ok(builder)
}
