//! The door's settings, each with its default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use jobs::config::Reader;
use rules::access::{Module, Wildcard};
use rules::nearest;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::{ExternalConfig, TrustedProxies};
use crate::cors::Origins;
use crate::graphql::Documents;
use crate::rate::RateLimits;

/// Where the API listens unless told otherwise: loopback, so that nothing is open by accident.
pub const BIND: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The port unless told otherwise.
pub const PORT: u16 = 4000;

/// How long an access token lasts, in seconds: short, for it cannot be called back everywhere at once by
/// whoever only verifies it. A refresh gives the next one.
pub const TOKEN_TTL_S: u64 = 15 * 60;

/// How long a session lasts however often it is refreshed, in seconds.
pub const SESSION_TTL_S: u64 = 30 * 24 * 3600;

/// Keys that no longer sign, at most.
const MAX_RETIRED_KEYS: usize = 8;

/// The shortest key that signs tokens, in bytes: as long as the hash, below which HS256 is weaker than it
/// looks.
pub const MIN_JWT_SECRET_BYTES: usize = 32;

/// The shortest token that opens the setup, in bytes.
const MIN_SETUP_TOKEN_BYTES: usize = 16;

/// The settings of the API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where to listen.
    pub bind: SocketAddr,
    /// Signs tokens; at least [`MIN_JWT_SECRET_BYTES`]. All processes of an installation hold the same.
    pub jwt_secret: SecretString,
    /// Keys that signed before and verify until their tokens have ended.
    pub jwt_retired: Vec<SecretString>,
    /// How long an access token lasts.
    pub token_ttl: Duration,
    /// How long a session lasts, however often it is refreshed.
    pub session_ttl: Duration,
    /// Another issuer whose tokens are taken, if any.
    pub external: Option<ExternalConfig>,
    /// With it, and with it alone, the first administrator can be made through the API.
    pub setup_token: Option<SecretString>,
    /// Whether the schema may be read through `__schema`, and errors may suggest names from it.
    pub introspection: bool,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The origins whose pages may read answers.
    pub origins: Origins,
    /// The documents that are known beforehand.
    pub documents: Documents,
    /// How `*` in grants is read.
    pub wildcard: Wildcard,
    /// The modules that the deployment has.
    pub modules: Vec<Module>,
    /// What one client, or all together, may ask for.
    pub limits: Limits,
}

/// What one client, or all together, may ask for.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once. Others wait in the kernel's queue.
    pub connections: usize,
    /// From the first byte of a connection, or the end of the last answer, to the end of the next head.
    pub head_timeout: Duration,
    /// The largest head, in bytes.
    pub head_bytes: usize,
    /// Header lines of a request.
    pub headers: usize,
    /// The largest body of a GraphQL request, in bytes.
    pub body_bytes: usize,
    /// From the end of a request's head to the answer.
    pub request_timeout: Duration,
    /// After the word to stop, how long requests under way may take to end.
    pub drain: Duration,
    /// Streams of one HTTP/2 connection.
    pub streams: u32,
    /// Nesting of a GraphQL selection.
    pub query_depth: usize,
    /// Fields that a GraphQL operation may fill, pages counted by their size.
    pub query_cost: u64,
    /// Aliases in a GraphQL operation.
    pub query_aliases: u64,
    /// Fields at the root of a GraphQL operation: each mutation there is a transaction.
    pub query_roots: u64,
    /// Words and signs in a GraphQL document, counted before it is parsed.
    pub query_tokens: usize,
    /// Failed logins on one e-mail address within [`Limits::login_window`].
    pub login_by_email: i32,
    /// Failed logins from one network address within [`Limits::login_window`].
    pub login_by_address: i32,
    /// The window in which failed logins are counted, and the time for which the next one is refused.
    pub login_window: Duration,
    /// Passwords hashed at once: each takes 19 MiB and a core.
    pub password_checks: usize,
    /// Requests of one address, user or API key.
    pub rates: RateLimits,
    /// How long a WebSocket may take to say who it is.
    pub live_init: Duration,
    /// How often the client of a WebSocket is asked whether it is there. One that has said nothing for two of these is
    /// gone.
    pub live_breath: Duration,
    /// How long whoever has as many events waiting as may wait can take to take them in.
    pub live_take_in: Duration,
    /// WebSockets of this process. Others are told to come back.
    pub live_connections: usize,
    /// Streams of events of this process, which hold connections that requests need, too.
    pub live_streams: usize,
    /// Live connections of one user or key, at this process.
    pub live_connections_each: usize,
    /// Subscriptions of one connection.
    pub subscriptions: usize,
    /// Subscriptions of one user or key, at this process.
    pub subscriptions_each: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_timeout: Duration::from_secs(15),
            head_bytes: 32 * 1024,
            headers: 64,
            body_bytes: 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            streams: 64,
            query_depth: 12,
            query_cost: 5_000,
            query_aliases: 30,
            query_roots: 20,
            query_tokens: 5_000,
            login_by_email: 10,
            login_by_address: 50,
            login_window: Duration::from_secs(15 * 60),
            password_checks: 2,
            rates: RateLimits::default(),
            live_init: Duration::from_secs(10),
            live_breath: Duration::from_secs(20),
            live_take_in: Duration::from_secs(10),
            live_connections: 4096,
            live_streams: 512,
            live_connections_each: 100,
            subscriptions: 100,
            subscriptions_each: 1_000,
        }
    }
}

impl ApiConfig {
    /// The defaults around what has none.
    pub fn new(bind: SocketAddr, jwt_secret: SecretString) -> Self {
        Self {
            bind,
            jwt_secret,
            jwt_retired: Vec::new(),
            token_ttl: Duration::from_secs(TOKEN_TTL_S),
            session_ttl: Duration::from_secs(SESSION_TTL_S),
            external: None,
            setup_token: None,
            introspection: bind.ip().is_loopback(),
            trusted_proxies: TrustedProxies::default(),
            origins: Origins::default(),
            documents: Documents::default(),
            wildcard: Wildcard::default(),
            modules: Module::ALL.to_vec(),
            limits: Limits::default(),
        }
    }

    /// Reads `BIND`, `PORT`, `JWT_SECRET`, `JWT_RETIRED`, `TOKEN_TTL_S`, `SESSION_TTL_S`, `FIREBASE_PROJECT`,
    /// `FIREBASE_CERTIFICATES`, `SETUP_TOKEN`, `GRAPHQL_INTROSPECTION`, `TRUSTED_PROXIES`,
    /// `PERMISSION_WILDCARD`, `MODULES`, `MAX_CONNECTIONS`, `MAX_LIVE_CONNECTIONS`, `DRAIN_S`,
    /// `CORS_ORIGINS`, `PERSISTED_DOCUMENTS`, `PERSISTED_DOCUMENTS_PATH` and the rate limits.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let ip = read_bind(reader);
        let port = reader.number("PORT", PORT, 0..=u16::MAX);
        let secret = reader.secret("JWT_SECRET", "to sign logins; `openssl rand -hex 32` makes one");
        let length = secret.expose_secret().len();
        if (1..MIN_JWT_SECRET_BYTES).contains(&length) {
            reader.fault(format!(
                "`JWT_SECRET` has {length} bytes; it must have at least {MIN_JWT_SECRET_BYTES}"
            ));
        }
        let mut config = Self::new(SocketAddr::new(ip, port), secret);
        config.token_ttl = reader.seconds("TOKEN_TTL_S", TOKEN_TTL_S, 60..=24 * 3600);
        config.jwt_retired = read_retired(reader);
        config.session_ttl = reader.seconds("SESSION_TTL_S", SESSION_TTL_S, 300..=366 * 24 * 3600);
        config.external = ExternalConfig::read(reader);
        config.setup_token = reader.text("SETUP_TOKEN").map(Into::into);
        if config.setup_token.as_ref().is_some_and(|t| t.expose_secret().len() < MIN_SETUP_TOKEN_BYTES) {
            reader.fault(format!("`SETUP_TOKEN` must have at least {MIN_SETUP_TOKEN_BYTES} bytes"));
        }
        config.introspection = reader.flag("GRAPHQL_INTROSPECTION", config.introspection);
        config.wildcard = reader.parsed("PERMISSION_WILDCARD", config.wildcard);
        config.modules = read_modules(reader);
        config.trusted_proxies = reader.parsed("TRUSTED_PROXIES", TrustedProxies::default());
        config.origins = reader.parsed("CORS_ORIGINS", Origins::default());
        config.documents = Documents::read(reader);
        config.limits.connections =
            reader.number("MAX_CONNECTIONS", config.limits.connections, 1..=1_000_000);
        config.limits.live_connections =
            reader.number("MAX_LIVE_CONNECTIONS", config.limits.live_connections, 1..=1_000_000);
        config.limits.rates = RateLimits::read(reader);
        config.limits.drain = reader.seconds("DRAIN_S", config.limits.drain.as_secs(), 0..=600);
        config
    }
}

/// Where to listen.
fn read_bind(reader: &mut Reader<'_>) -> IpAddr {
    let Some(text) = reader.text("BIND") else { return BIND };
    text.parse().unwrap_or_else(|_| {
        reader.fault(format!(
            "`BIND` is `{text}`; it must be an address and no name: 127.0.0.1 to be reached from this machine alone, \
             0.0.0.0 from all networks"
        ));
        BIND
    })
}

/// Keys that signed before.
fn read_retired(reader: &mut Reader<'_>) -> Vec<SecretString> {
    let Some(text) = reader.text("JWT_RETIRED") else { return Vec::new() };
    let keys: Vec<&str> = text.split(',').map(str::trim).filter(|k| !k.is_empty()).collect();
    if keys.len() > MAX_RETIRED_KEYS {
        reader.fault(format!("`JWT_RETIRED` has {} keys; at most {MAX_RETIRED_KEYS}", keys.len()));
    }
    if keys.iter().any(|key| key.len() < MIN_JWT_SECRET_BYTES) {
        reader.fault(format!("a key in `JWT_RETIRED` is shorter than {MIN_JWT_SECRET_BYTES} bytes"));
    }
    keys.into_iter().map(SecretString::from).collect()
}

/// The modules of the deployment: all, or the listed ones and that of tenants, without which nobody could
/// be let in.
fn read_modules(reader: &mut Reader<'_>) -> Vec<Module> {
    let Some(text) = reader.text("MODULES") else { return Module::ALL.to_vec() };
    let mut modules = vec![Module::Tenant];
    for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        match name.parse() {
            Ok(module) => modules.push(module),
            Err(_) => {
                let told = nearest::instead(name, &Module::ALL.map(Module::as_str), "there is none");
                reader.fault(format!("`MODULES`: `{name}` is no module; {told}"));
            }
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_together_and_the_secret_is_not() {
        let look_up = |name: &str| match name {
            "JWT_SECRET" => Some("hunter2".to_owned()),
            "BIND" => Some("localhost".to_owned()),
            "GRAPHQL_INTROSPECTION" => Some("maybe".to_owned()),
            "MODULES" => Some("workflow,foo".to_owned()),
            _ => None,
        };
        let mut reader = Reader::new(&look_up);
        let config = ApiConfig::read(&mut reader);
        let told = format!("{} {config:?}", reader.finish().unwrap_err());
        for part in [
            "`JWT_SECRET`",
            "`BIND` is `localhost`; it must be an address and no name: 127.0.0.1",
            "`GRAPHQL_INTROSPECTION` is `maybe`; it must be `true` or `false`",
            "`MODULES`: `foo` is no module; there are `",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert!(!told.contains("hunter2"), "{told}");
    }

    #[test]
    fn the_schema_is_open_on_loopback_only() {
        let at = |bind: &str| ApiConfig::new(bind.parse().unwrap(), "x".repeat(32).into()).introspection;
        assert!(at("127.0.0.1:4000"));
        assert!(!at("0.0.0.0:4000"));
    }
}
