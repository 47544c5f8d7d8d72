//! The configuration of `solera dev`: everything on this machine, nothing to prepare.

use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZero,
    path::{Path, PathBuf},
};

use schemas::{Dc, SessionTtl};

use super::{
    AdminConfig, Config, LogConfig, PeerConfig, PeersConfig, ReadConsistency, RingFile, SecretsConfig, admin,
    limits,
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
        listener: Listener {
            address: Ipv4Addr::LOCALHOST.to_string(),
            port,
            openapi_spec: None,
            tls: None,
            tokens_file: None,
        },
        admin: AdminConfig { listen: admin_listen(port), tls: None, tokens_file: None },
        dc: "dev".parse().expect("a data centre may have this name"),
        data_dir,
        memory_mb: super::MEMORY_MB,
        log: LogConfig::DEFAULT,
        secrets: SecretsConfig::MadeInDataDir,
        limits,
        read_patience: limits::default_patience(limits.request_timeout),
        serve_in_outage_for: limits::SERVE_IN_OUTAGE_FOR,
        checkpoints: None,
        peers: None,
        stores: stores::only(Some(base_uri), Some(SessionTtl::KASK), ReadConsistency::Node),
    }
}

/// Nodes for development of several data centres, `dc1` and on, that are each other's peers: the first as [`dev`] makes it, each
/// other on the next port. They listen for each other 1000 below their data ports. Each has a folder of its own in `data_dir`;
/// the secrets that they share lie in `secrets` beside them. `None` when there are no such ports.
pub fn dev_dcs(port: u16, data_dir: &Path, count: u16) -> Option<Vec<Config>> {
    let name = |n: u16| -> Dc { format!("dc{}", n + 1).parse().expect("a data centre may have this name") };
    let peers_listen = |n: u16| {
        let port = port.checked_add(n)?.checked_sub(1000).filter(|&port| port != 0)?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    let secrets = data_dir.join("secrets");
    let node = |n: u16| {
        let others = (0..count).filter(|&other| other != n).map(|other| {
            let url = format!("http://{}", peers_listen(other)?).parse().ok()?;
            Some((name(other), PeerConfig { urls: vec![url], tls_name: None }))
        });
        let peers = PeersConfig { listen: peers_listen(n)?, tls: None, dcs: others.collect::<Option<_>>()? };
        Some(Config {
            dc: name(n),
            secrets: SecretsConfig::Files {
                index: secrets.join("index-secret"),
                ring: vec![RingFile { id: NonZero::<u32>::MIN, file: secrets.join("secret-1") }],
            },
            peers: Some(peers),
            ..dev(port.checked_add(n)?, data_dir.join(name(n).as_str()))
        })
    };
    (0..count).map(node).collect()
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
            assert_eq!(config.admin.listen, SocketAddr::from((Ipv4Addr::LOCALHOST, admin)), "{port}");
        }
    }

    #[test]
    fn data_centres_for_development_are_each_others_peers_and_share_nothing_but_secrets() {
        let configs = dev_dcs(8081, Path::new("data"), 3).unwrap();
        let listens: Vec<_> = configs
            .iter()
            .map(|config| {
                let peers = config.peers.as_ref().unwrap();
                let others: Vec<_> =
                    peers.dcs.iter().map(|(dc, peer)| format!("{dc} {}", peer.urls[0])).collect();
                (config.dc.as_str(), config.listener.port, peers.listen.port(), others.join(", "))
            })
            .collect();
        let others =
            |a, b| format!("dc{a} http://127.0.0.1:{}, dc{b} http://127.0.0.1:{}", 7080 + a, 7080 + b);
        assert_eq!(
            listens,
            [
                ("dc1", 8081, 7081, others(2, 3)),
                ("dc2", 8082, 7082, others(1, 3)),
                ("dc3", 8083, 7083, others(1, 2)),
            ]
        );
        assert_eq!(configs[0].secrets, configs[2].secrets);
        assert_eq!(configs[1].data_dir, Path::new("data/dc2"));
        assert!(dev_dcs(999, Path::new("data"), 2).is_none());
        assert!(dev_dcs(65_535, Path::new("data"), 2).is_none());
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
