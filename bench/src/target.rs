//! The base URL: where sessions are asked for.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

/// `http://HOST[:PORT]/PATH/`, as in `http://127.0.0.1:8081/sessions/v1/`. No TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    authority: String,
    path: String,
}

impl Target {
    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The path below which session keys stand; a slash at both ends.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The first address of the host.
    ///
    /// # Errors
    /// When the name has none.
    pub(crate) fn resolve(&self) -> anyhow::Result<SocketAddr> {
        let host_and_port = match self.authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => self.authority.clone(),
            _ => format!("{}:80", self.authority),
        };
        let first = host_and_port.to_socket_addrs().map(|mut addresses| addresses.next());
        match first {
            Ok(Some(address)) => Ok(address),
            Ok(None) => anyhow::bail!("{host_and_port} has no address"),
            Err(error) => anyhow::bail!("look up {host_and_port}: {error}"),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").ok_or("a URL that begins with http://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("`{text}` names no host"));
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
        if !rest.bytes().all(plain) {
            return Err("a path of visible ASCII without `?` and `#`".to_owned());
        }
        let path = path.trim_matches('/');
        let path = if path.is_empty() { "/".to_owned() } else { format!("/{path}/") };
        Ok(Self { authority: authority.to_owned(), path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_at_the_end_do_not_matter() {
        for text in ["http://localhost:8081/sessions/v1", "http://localhost:8081/sessions/v1/"] {
            let target: Target = text.parse().unwrap();
            assert_eq!((target.authority(), target.path()), ("localhost:8081", "/sessions/v1/"));
        }
        assert_eq!("http://kask".parse::<Target>().unwrap().to_string(), "http://kask/");
    }

    #[test]
    fn a_port_may_be_left_out() {
        let address = |text: &str| text.parse::<Target>().unwrap().resolve().unwrap().to_string();
        assert_eq!(address("http://127.0.0.1/"), "127.0.0.1:80");
        assert_eq!(address("http://[::1]/"), "[::1]:80");
        assert_eq!(address("http://[::1]:81/"), "[::1]:81");
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for text in
            ["", "localhost:80", "https://x/", "http:///x", "http://u@x/", "http://x/a b", "http://x/?a"]
        {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
