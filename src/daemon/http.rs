//! The one HTTP client: who speaks to the outside is handed it.

use std::time::Duration;

use anyhow::Context as _;

/// How long the other side may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Makes a client whose every request ends within `limit`.
///
/// Proxies come from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, certificates of the system's
/// authorities from where `SSL_CERT_FILE` and `SSL_CERT_DIR` say. Redirects are not followed: a
/// message with a secret in it goes where it was sent, and nowhere else.
///
/// # Errors
/// The environment names a proxy that is no address, or there is no list of authorities.
pub fn client(limit: Duration) -> anyhow::Result<reqwest::Client> {
    // An error says that one is installed already.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(limit)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("runscribe/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot set up HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_can_be_made_twice() {
        for _ in 0..2 {
            assert!(client(Duration::from_secs(1)).is_ok());
        }
    }
}
