//! The configuration of `solera dev`: everything on this machine, nothing to prepare.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use schemas::SessionTtl;

use super::{
    Config, LogConfig, ReadConsistency, SecretsConfig, admin, limits,
    limits::Limits,
    listener::Listener,
    stores,
    telemetry::{LogFormat, LogLevel, Telemetry},
};

/// A node for development: data on `port`, admin 1000 above it (below it when there is no such port), one store
/// `sessions` at `/sessions/v1/`, an embedded log. Port 0 lets the system choose both.
pub fn dev(port: u16, data_dir: PathBuf) -> Config {
    let limits = Limits::default();
    let base_uri = "/sessions/v1/".parse().expect("the path is a base URI");
    Config {
        telemetry: Telemetry {
            service_name: super::SERVICE_NAME.to_owned(),
            log_level: LogLevel::Info,
            log_format: LogFormat::Kask,
        },
        listener: Listener { address: Ipv4Addr::LOCALHOST.to_string(), port, openapi_spec: None, tls: None },
        admin_listen: admin_listen(port),
        dc: "dev".parse().expect("a data centre may have this name"),
        data_dir,
        memory_mb: super::MEMORY_MB,
        log: LogConfig::DEFAULT,
        secrets: SecretsConfig::MadeInDataDir,
        limits,
        read_patience: limits::default_patience(limits.request_timeout),
        serve_in_outage_for: limits::SERVE_IN_OUTAGE_FOR,
        checkpoints: None,
        stores: stores::only(Some(base_uri), Some(SessionTtl::KASK), ReadConsistency::Node),
    }
}

fn admin_listen(port: u16) -> SocketAddr {
    let below = || SocketAddr::from((Ipv4Addr::LOCALHOST, port.saturating_sub(1000)));
    match port {
        0 => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        _ => admin::default_listen(port).unwrap_or_else(below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_for_development_is_on_loopback_with_its_admin_port_beside_it() {
        for (port, admin) in [(8081, 9081), (64_535, 65_535), (64_536, 63_536), (65_535, 64_535), (0, 0)] {
            let config = dev(port, PathBuf::from("data"));
            assert_eq!((config.listener.address.as_str(), config.listener.port), ("127.0.0.1", port));
            assert_eq!(config.admin_listen, SocketAddr::from((Ipv4Addr::LOCALHOST, admin)), "{port}");
        }
    }

    #[test]
    fn a_node_for_development_has_one_store_and_makes_its_secrets() {
        let config = dev(8081, PathBuf::from("data"));
        assert_eq!(config.dc.as_str(), "dev");
        assert_eq!(config.secrets, SecretsConfig::MadeInDataDir);
        let stores: Vec<_> =
            config.stores.iter().map(|(name, store)| (name.as_str(), store.base_uri.as_str())).collect();
        assert_eq!(stores, [("sessions", "/sessions/v1/")]);
    }
}
