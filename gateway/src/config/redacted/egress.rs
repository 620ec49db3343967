//! `[egress]` as it runs. Queries of list URLs may be keys to them, so they are left out.

use serde_json::{Value, json};

use super::{Vocabulary, bounds, duration, path, requirements, size_text, timeouts};
use crate::config::egress::{
    AcceptedCredentials, CloudService, DnsServers, DomainPattern, Egress, Feed, FeedSource,
    FeedTrust, Pac, PacFile, PacScope, Reach, Resolver, ResolverKind, StaticName,
};

pub(super) fn egress(egress: &Egress) -> Value {
    let Egress {
        listen,
        name,
        client_certificates,
        credentials:
            AcceptedCredentials {
                owner,
                token,
                password,
            },
        requirements: require,
        mode,
        ports,
        tls_ports,
        ech,
        hello_timeout,
        recheck,
        timeouts: times,
        tunnels,
        tunnels_per_device,
        own_addresses,
        password_key,
        password_lifetime,
        why_host,
        refusals_per_device,
        bounds: limits,
        resolver: asked,
        addresses,
        reach: exceptions,
        services,
        feeds,
        lists_directory,
        protect,
        pac: files,
    } = egress;
    json!({
        "listen": listen,
        "name": name,
        "client_certificates": client_certificates.word(),
        "credentials": { "owner": owner, "token": token, "password": password },
        "require": requirements(require),
        "mode": mode.word(),
        "ports": ports,
        "tls_ports": tls_ports,
        "ech": ech.word(),
        "hello_timeout": duration(*hello_timeout),
        "recheck": duration(*recheck),
        "timeouts": timeouts(times),
        "tunnels": tunnels,
        "tunnels_per_device": tunnels_per_device,
        "own_addresses": own_addresses,
        "password_key": password_key.as_deref().map(path),
        "password_lifetime": duration(*password_lifetime),
        "why_host": why_host,
        "refusals_per_device": refusals_per_device,
        "bounds": bounds(limits),
        "resolver": resolver(asked),
        "address": addresses.iter().map(static_name).collect::<Vec<_>>(),
        "reach": exceptions.iter().map(reach).collect::<Vec<_>>(),
        "service": services.iter().map(service).collect::<Vec<_>>(),
        "feed": feeds.iter().map(feed).collect::<Vec<_>>(),
        "lists_directory": lists_directory.as_deref().map(path),
        "protect": protect,
        "pac": files.as_ref().map(pac),
    })
}

fn patterns(patterns: &[DomainPattern]) -> Vec<String> {
    patterns.iter().map(ToString::to_string).collect()
}

fn resolver(resolver: &Resolver) -> Value {
    let Resolver {
        kind,
        timeout,
        ipv6,
    } = resolver;
    let (mode, servers, path) = match kind {
        ResolverKind::System => ("system", Value::Null, None),
        ResolverKind::Tls(servers) => ("tls", dns_servers(servers), None),
        ResolverKind::Https { servers, path } => ("https", dns_servers(servers), Some(path)),
    };
    json!({
        "mode": mode,
        "servers": servers,
        "path": path,
        "timeout": duration(*timeout),
        "ipv6": ipv6,
    })
}

fn dns_servers(servers: &DnsServers) -> Value {
    let DnsServers {
        addresses,
        server_name,
        authority,
    } = servers;
    json!({
        "addresses": addresses,
        "server_name": server_name,
        "authority": authority.as_deref().map(path),
    })
}

fn static_name(name: &StaticName) -> Value {
    let StaticName { host, addresses } = name;
    let one = |(address, port): &(std::net::IpAddr, Option<u16>)| match port {
        Some(port) => std::net::SocketAddr::new(*address, *port).to_string(),
        None => address.to_string(),
    };
    json!({ "host": host, "addresses": addresses.iter().map(one).collect::<Vec<_>>() })
}

fn reach(reach: &Reach) -> Value {
    let Reach {
        hosts,
        ranges,
        ports,
    } = reach;
    json!({ "hosts": patterns(hosts), "ranges": ranges, "ports": ports })
}

fn service(service: &CloudService) -> Value {
    let CloudService {
        name,
        hosts,
        level,
        tenant,
        groups,
        categories,
        ports,
    } = service;
    json!({
        "name": name,
        "hosts": patterns(hosts),
        "level": level.map(Vocabulary::word),
        "tenant": tenant,
        "groups": groups,
        "categories": categories,
        "ports": ports,
    })
}

fn feed(feed: &Feed) -> Value {
    let Feed {
        name,
        source,
        format,
        categories,
        effect,
        max_bytes,
        required,
        alert,
        max_shrink,
    } = feed;
    let source = match source {
        FeedSource::File { path: file, trust } => {
            json!({ "file": path(file), "trust": self::trust(trust) })
        }
        FeedSource::Https {
            url,
            trust,
            authority,
            refresh,
        } => json!({
            "url": url.split_once('?').map_or(url.as_str(), |(shown, _)| shown),
            "trust": self::trust(trust),
            "authority": authority.as_deref().map(path),
            "refresh": duration(*refresh),
        }),
    };
    json!({
        "name": name,
        "source": source,
        "format": format.word(),
        "categories": categories,
        "effect": effect.word(),
        "max_bytes": size_text(*max_bytes),
        "required": required,
        "alert": alert,
        "max_shrink": max_shrink,
    })
}

fn trust(trust: &FeedTrust) -> Value {
    match trust {
        FeedTrust::Minisign(key) => json!({ "minisign_key": key }),
        FeedTrust::Sha256(hash) => {
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "sha256": hash })
        }
        FeedTrust::Unsigned => json!({ "unsigned": true }),
    }
}

fn pac(pac: &Pac) -> Value {
    let Pac { host, files } = pac;
    let file = |file: &PacFile| {
        let PacFile {
            name,
            proxies,
            proxied,
            direct,
            elsewhere,
        } = file;
        let (everything, proxied) = match proxied {
            PacScope::Everything => (true, Vec::new()),
            PacScope::Only(proxied) => (false, patterns(proxied)),
        };
        json!({
            "name": name,
            "proxies": proxies,
            "everything": everything,
            "proxied": proxied,
            "direct": patterns(direct),
            "elsewhere": elsewhere.to_string(),
        })
    };
    json!({ "host": host, "file": files.iter().map(file).collect::<Vec<_>>() })
}
