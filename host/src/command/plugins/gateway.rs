//! Finding a running gateway, and asking it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::Place;
use crate::command::Usage;
use crate::config::{Config, Overrides, Secret};
use crate::http::address;

/// How long the gateway may take to take a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to answer: a `promote` waits for what is proven at the time.
const ANSWER: Duration = Duration::from_secs(310);

/// A gateway that is asked over HTTP.
pub(super) struct Gateway {
    url: Url,
    token: Option<Secret>,
    client: reqwest::Client,
    runtime: Runtime,
    /// What to do if it does not answer.
    advice: String,
}

#[derive(Deserialize)]
struct Failure {
    error: String,
}

impl Gateway {
    /// The gateway that is meant. Nothing is asked yet.
    pub fn find(place: &Place) -> anyhow::Result<Self> {
        let start = format!("start one with `rowmill run -c {}`", place.config.display());
        let (url, token, advice) = match &place.url {
            Some(text) => (parse(text)?, None, "is it running, and is the address right?".to_string()),
            None => {
                let config = read(place)?;
                let address = address(&config, place, &start)?;
                let url = parse(&format!("http://{}", reachable(address)))?;
                (url, config.http.token, format!("{start}, or name another with --url"))
            }
        };
        let token = match &place.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Usage(format!("--token-file: cannot read {}: {error}", path.display())))?;
                Some(Secret(text.trim().to_string()))
            }
            None => token,
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { url, token, client, runtime, advice })
    }

    /// `GET /plugins/…`.
    pub fn get(&self, path: &[&str]) -> anyhow::Result<String> {
        self.ask(self.client.get(self.place(path)))
    }

    /// `POST /plugins/…`.
    pub fn post(&self, path: &[&str], body: Option<String>) -> anyhow::Result<String> {
        let request = self.client.post(self.place(path));
        self.ask(match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        })
    }

    fn place(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("plugins").extend(path);
        }
        url
    }

    fn ask(&self, request: RequestBuilder) -> anyhow::Result<String> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(&token.0),
            None => request,
        };
        let (status, text) = self
            .runtime
            .block_on(async {
                let response = request.send().await?;
                Ok((response.status(), response.text().await?))
            })
            .map_err(|error: reqwest::Error| self.unanswered(&error))?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str::<Failure>(&text) {
            Ok(Failure { error }) => bail!(error),
            Err(_) => bail!("what answers on {} is no gateway of this version: it answers {status}", self.url),
        }
    }

    fn unanswered(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_timeout() && !error.is_connect() {
            return anyhow!(
                "the gateway on {} took the request and gave no answer within {} s; its log says what it does",
                self.url,
                ANSWER.as_secs()
            );
        }
        // The innermost cause is what a person can use: connection refused, an unknown name.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        anyhow!("no gateway answers on {} ({cause}); {}", self.url, self.advice)
    }
}

fn read(place: &Place) -> anyhow::Result<Config> {
    let overrides = Overrides { plugins: place.plugins.clone(), set: place.set.clone() };
    if !place.config.exists() {
        return Err(Usage(format!(
            "there is no {}; name the configuration that the gateway runs with by -c, or its address by --url",
            place.config.display()
        ))
        .into());
    }
    Ok(crate::config::read(&place.config, &overrides)?)
}

/// Where a gateway with this configuration serves.
fn address(config: &Config, place: &Place, start: &str) -> anyhow::Result<SocketAddr> {
    if let Some(listen) = config.http.listen.filter(|listen| listen.port() != 0) {
        return Ok(listen);
    }
    let Some(state) = config.address_folder() else {
        bail!(
            "{} names no plugins.dir, or keeps no state, so a gateway with it cannot be found: name the folder as it was started with, by --plugins DIR or --set KEY=VALUE, or the address that its log tells, by --url",
            place.config.display()
        );
    };
    let found = address::read(state).context(
        "the gateway's address cannot be read; run this as the user that the gateway runs as, or name the address by --url",
    )?;
    found.with_context(|| {
        format!(
            "no gateway runs with {}: none has written its address into {}; {start}, or name the address that another one's log tells, by --url",
            place.config.display(),
            state.display()
        )
    })
}

/// An address to connect to: one that stands for all addresses of a machine is reached on the loopback one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn parse(text: &str) -> anyhow::Result<Url> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(Usage(format!("--url {text:?} is no URL like \"http://127.0.0.1:8088\"")).into()),
    }
}
