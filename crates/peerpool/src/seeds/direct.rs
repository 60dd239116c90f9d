//! DNS spoken by ourselves: a thin layer over hickory, without its cache and search domains.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::{ResolverBuilder, system_conf};
use tokio::time::{Instant, timeout, timeout_at};

/// One query to one server; lost packets are sent anew within it.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long one family's addresses wait for the other family's. RFC 8305 waits 50 ms; a seed's
/// answer is no user waiting for a page.
const OTHER_FAMILY: Duration = Duration::from_millis(500);
/// Queries sent after one that was not answered in time.
const RETRIES: usize = 1;

pub(super) struct Direct(TokioResolver);

impl Direct {
    pub(super) fn system() -> Result<Self, String> {
        let (config, _) = system_conf::read_system_conf().map_err(|e| e.to_string())?;
        let servers = config.into_parts().2;
        if servers.is_empty() {
            return Err("the system's configuration names no DNS server".to_owned());
        }
        Self::new(servers, ResolveHosts::Auto)
    }

    pub(super) fn with_server(server: SocketAddr) -> Result<Self, String> {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut c| {
            c.port = server.port();
            c
        });
        // Another answer than "no such name" is not sought: there is one server.
        let server = NameServerConfig::new(server.ip(), true, connections.into());
        Self::new(vec![server], ResolveHosts::Never)
    }

    fn new(servers: Vec<NameServerConfig>, hosts: ResolveHosts) -> Result<Self, String> {
        let config = ResolverConfig::from_name_servers(servers);
        let provider = TokioRuntimeProvider::default();
        let mut builder: ResolverBuilder<_> = TokioResolver::builder_with_config(config, provider);
        let options = builder.options_mut();
        options.timeout = QUERY_TIMEOUT;
        options.attempts = RETRIES;
        // The engine decides how often a seed is asked, and wants a new answer each time.
        options.cache_size = 0;
        options.use_hosts_file = hosts;
        options.edns0 = true;
        builder.build().map(Self).map_err(|error| error.to_string())
    }

    /// A and AAAA of `name`, in parallel. An error only where neither was answered.
    pub(super) async fn lookup(
        &self,
        name: &str,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, String> {
        let mut v4 = pin!(self.records(name, RecordType::A, deadline));
        let mut v6 = pin!(self.records(name, RecordType::AAAA, deadline));
        let (first, other) = tokio::select! {
            first = &mut v4 => (first, v6),
            first = &mut v6 => (first, v4),
        };
        match first {
            Err(_) => other.await,
            Ok(found) if found.is_empty() => Ok(other.await.unwrap_or_default()),
            Ok(mut found) => {
                if let Ok(Ok(more)) = timeout(OTHER_FAMILY, other).await {
                    found.extend(more);
                }
                Ok(found)
            }
        }
    }

    async fn records(
        &self,
        name: &str,
        kind: RecordType,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>, String> {
        match timeout_at(deadline, self.0.lookup(name, kind)).await {
            Err(_) => Err("no answer in time".to_owned()),
            Ok(Ok(found)) => {
                Ok(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
            }
            Ok(Err(error)) if error.is_nx_domain() => Err("no such name".to_owned()),
            Ok(Err(error)) if error.is_no_records_found() => Ok(Vec::new()),
            Ok(Err(error)) => Err(error.to_string()),
        }
    }
}
