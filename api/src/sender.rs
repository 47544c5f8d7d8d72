//! Who sends the requests of a connection, as far as the connection says.

use std::{fmt, net::SocketAddr};

use crate::tls::ClientCertificate;

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sender {
    /// `None` where there is no network between.
    pub(crate) address: Option<SocketAddr>,
    /// What it has shown.
    pub(crate) certificate: Option<ClientCertificate>,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("nowhere"),
        }
    }
}
