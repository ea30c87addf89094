//! Who gets in at a listener: first not too often, then with a token. Nothing of the body has been read by then.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage, HttpRequest,
    dev::ServiceRequest,
    http::{Method, StatusCode, header::RETRY_AFTER},
    web,
};

use crate::{
    client::{Client, Peer, TrustedProxies},
    config::{Config, Listen},
    problem::Problem,
    throttle::{CLIENTS, OPERATORS, Throttle},
    tokens::{Caller, Tokens},
};

/// What is neither counted nor guarded, by its exact path: balancers and scrapers look here.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];
/// Likewise where clients come in. Elsewhere there is no such path, and being told so is for those who may come in.
const DOCUMENT: &str = "/openapi.json";

/// What a listener asks of its requests.
pub(crate) struct Door {
    unix: bool,
    trusted: TrustedProxies,
    throttle: Option<Throttle>,
    tokens: Option<Arc<Tokens>>,
    /// Whether reading needs a token too.
    reading: bool,
}

/// The doors of both listeners.
pub(crate) struct Doors {
    pub(crate) public: web::Data<Door>,
    pub(crate) admin: web::Data<Door>,
    pub(crate) files: TokenFiles,
}

/// The files with tokens that are in use, to be read again.
#[derive(Clone)]
pub struct TokenFiles(Vec<Arc<Tokens>>);

impl TokenFiles {
    /// Reads all files again. A bad one leaves the tokens as they were, and an error in the log.
    pub fn reread(&self) {
        if self.0.is_empty() {
            log::info!("no token file is set: there is nothing to read again");
        }
        self.0.iter().for_each(|tokens| tokens.reread());
    }
}

impl Doors {
    /// # Errors
    /// When a file of tokens cannot be read or is bad.
    pub(crate) fn open(config: &Config) -> anyhow::Result<Doors> {
        let open = |option, file: &Option<PathBuf>| {
            let tokens = file.as_ref().map(|path| Tokens::open(option, path).map(Arc::new));
            tokens.transpose()
        };
        let public = open("--token-file", &config.token_file)?;
        let admin = open("--admin-token-file", &config.admin_token_file)?;
        let files = TokenFiles(public.iter().chain(&admin).cloned().collect());
        let door = |listen: &Listen, clients, tokens, reading| {
            web::Data::new(Door {
                unix: matches!(listen, Listen::Unix(_)),
                trusted: config.trust_proxy.clone(),
                throttle: Throttle::new(&config.client_rate, clients, Instant::now()),
                tokens,
                reading,
            })
        };
        Ok(Doors {
            public: door(&config.listen, CLIENTS, public, false),
            admin: door(&config.admin_listen, OPERATORS, admin, true),
            files,
        })
    }
}

/// Counts a request and asks for its token. Leaves a [`Caller`] in the extensions of one that may go on.
pub(crate) fn admit(request: &ServiceRequest) -> Result<(), Problem> {
    let Some(door) = request.app_data::<web::Data<Door>>() else {
        return Err(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let path = request.path();
    if OPEN.contains(&path) || (path == DOCUMENT && !door.reading) {
        return Ok(());
    }
    door.throttle(request)?;
    let caller = door.caller(request)?;
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Whether a request comes from a proxy that is believed.
pub(crate) fn is_of_proxy(request: &HttpRequest) -> bool {
    let door = request.app_data::<web::Data<Door>>();
    door.is_some_and(|door| door.trusted.believe(door.peer(request.peer_addr())))
}

impl Door {
    fn peer(&self, address: Option<SocketAddr>) -> Peer {
        if self.unix { Peer::Socket } else { Peer::Tcp(address.map(|address| address.ip())) }
    }

    /// Whether its requests need a token.
    pub(crate) fn has_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    fn throttle(&self, request: &ServiceRequest) -> Result<(), Problem> {
        let Some(throttle) = &self.throttle else { return Ok(()) };
        let peer = self.peer(request.peer_addr());
        let Client::At(address) = self.trusted.client(peer, request.headers()) else {
            return Ok(());
        };
        throttle.admit(address, Instant::now()).map_err(|wait| {
            let detail = "too many requests from this address: nothing of this one was stored";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
                .with(RETRY_AFTER, whole_seconds(wait).to_string())
        })
    }

    fn caller(&self, request: &ServiceRequest) -> Result<Caller, Problem> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        match &self.tokens {
            Some(tokens) if self.reading || !reads => {
                tokens.caller(request.headers(), self.reading)
            }
            _ => Ok(Caller { token: None }),
        }
    }
}

/// As `Retry-After` has them: rounded up, so that who keeps to it is not refused again.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        let check = |ms, expect| assert_eq!(whole_seconds(Duration::from_millis(ms)), expect);
        check(1, 1);
        check(999, 1);
        check(1000, 1);
        check(1001, 2);
        check(3_599_900, 3600);
    }
}
