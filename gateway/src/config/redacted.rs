//! The running configuration for the administrators' listener: everything effective, defaults included, no secret.
//!
//! Every structure is taken apart by name, so that a new option stops the build until someone has decided how it is
//! shown. Keys appear as paths. Values that requests get set may be keys to upstreams, so only their names appear.

mod egress;
mod sign_in;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::text::{Vocabulary, duration_text, size_text};
use super::{
    Admin, App, Assertion, Audit, Backend, Bounds, CertificateFiles, ClaimNames,
    ClientCertificateRule, Config, Devices, HeaderEdits, HealthCheck, HostHeader, Ingress, Issuer,
    KeySource, Limit, Lockout, Network, Pages, PassiveHealth, Requirements, Runtime,
    ServiceAccount, Timeouts, Upstream, UpstreamTls,
};

/// What runs, in the words of the file.
pub fn redacted(config: &Config) -> Value {
    let Config {
        path: file,
        ingress: door,
        egress: second_door,
        devices: inventory,
        issuers,
        services,
        apps,
        policies,
        networks,
        time_zone,
        limits,
        lockout: lock,
        audit: record,
        admin: Admin { listen },
        assertion: Assertion {
            issuer,
            key,
            lifetime,
        },
        pages:
            Pages {
                organisation,
                contact,
                logo,
                colour,
            },
        runtime: process,
        store,
        sign_in: with_browsers,
        identity_provider: built_in,
        scim: provisioning,
    } = config;
    let colour = colour.map(|[red, green, blue]| format!("#{red:02x}{green:02x}{blue:02x}"));
    json!({
        "path": path(file),
        "store": store.as_deref().map(path),
        "ingress": ingress(door),
        "egress": second_door.as_ref().map(egress::egress),
        "devices": devices(inventory),
        "issuer": issuers.iter().map(self::issuer).collect::<Vec<_>>(),
        "sign_in": with_browsers.as_ref().map(sign_in::sign_in),
        "identity_provider": built_in.as_ref().map(sign_in::identity_provider),
        "scim": provisioning.as_ref().map(sign_in::scim),
        "service": services.iter().map(service).collect::<Vec<_>>(),
        "app": apps.iter().map(app).collect::<Vec<_>>(),
        "policies": paths(policies),
        "network": networks.iter().map(network).collect::<Vec<_>>(),
        "time_zone": time_zone.iana_name(),
        "limit": limits.iter().map(limit).collect::<Vec<_>>(),
        "lockout": lockout(lock),
        "audit": audit(record),
        "admin": { "listen": listen },
        "assertion": { "issuer": issuer, "key": key.as_deref().map(path), "lifetime": duration(*lifetime) },
        "pages": {
            "organisation": organisation, "contact": contact,
            "logo": logo.as_deref().map(path), "colour": colour,
        },
        "runtime": runtime(process),
    })
}

fn ingress(ingress: &Ingress) -> Value {
    let Ingress {
        listen,
        tls_profile,
        hybrid_key_exchange,
        certificates,
        client_certificates,
        client_certificate_default,
        proxy_protocol_from,
        trusted_forwarders,
        bounds: limits,
        public_port,
    } = ingress;
    let rule = |rule: &ClientCertificateRule| {
        let ClientCertificateRule { hosts, mode } = rule;
        json!({ "hosts": hosts, "mode": mode.word() })
    };
    json!({
        "listen": listen,
        "public_port": public_port,
        "tls_profile": tls_profile.word(),
        "hybrid_key_exchange": hybrid_key_exchange,
        "certificate": certificates.iter().map(certificate).collect::<Vec<_>>(),
        "client_certificate": client_certificates.iter().map(rule).collect::<Vec<_>>(),
        "client_certificates": client_certificate_default.word(),
        "proxy_protocol_from": proxy_protocol_from,
        "trusted_forwarders": trusted_forwarders,
        "bounds": bounds(limits),
    })
}

fn bounds(bounds: &Bounds) -> Value {
    let Bounds {
        connections,
        connections_per_address,
        handshakes_per_address,
        handshake_timeout,
        header_timeout,
        header_bytes,
        header_count,
        concurrent_streams,
        keep_alive,
        drain,
    } = bounds;
    json!({
        "connections": connections,
        "connections_per_address": connections_per_address,
        "handshakes_per_address": handshakes_per_address,
        "handshake_timeout": duration(*handshake_timeout),
        "header_timeout": duration(*header_timeout),
        "header_bytes": size_text(u64::try_from(*header_bytes).unwrap_or(u64::MAX)),
        "header_count": header_count,
        "concurrent_streams": concurrent_streams,
        "keep_alive": duration(*keep_alive),
        "drain": duration(*drain),
    })
}

fn devices(devices: &Devices) -> Value {
    let Devices {
        authorities,
        revocation_lists,
        refuse_on_expired_list,
        inventory,
        posture_max_age,
    } = devices;
    json!({
        "authorities": paths(authorities),
        "revocation_lists": paths(revocation_lists),
        "refuse_on_expired_list": refuse_on_expired_list,
        "inventory": path(inventory),
        "posture_max_age": duration(*posture_max_age),
    })
}

fn issuer(issuer: &Issuer) -> Value {
    let Issuer {
        name,
        issuer,
        audiences,
        algorithms,
        keys,
        token_types,
        claims:
            ClaimNames {
                user,
                require_verified_email,
                name: display,
                groups,
                roles,
                group_prefix,
            },
        acr_multi_factor,
        acr_phishing_resistant,
        multi_factor_out_of_band,
        leeway,
        max_token_lifetime,
        sign_in: client,
    } = issuer;
    json!({
        "name": name,
        "issuer": issuer,
        "audiences": audiences,
        "algorithms": algorithms.iter().map(|algorithm| algorithm.word()).collect::<Vec<_>>(),
        "keys": key_source(keys),
        "token_types": token_types,
        "claims": {
            "user": user, "require_verified_email": require_verified_email, "name": display,
            "groups": groups, "roles": roles, "group_prefix": group_prefix,
        },
        "acr_multi_factor": acr_multi_factor,
        "acr_phishing_resistant": acr_phishing_resistant,
        "multi_factor_out_of_band": multi_factor_out_of_band,
        "leeway": duration(*leeway),
        "max_token_lifetime": duration(*max_token_lifetime),
        "sign_in": client.as_ref().map(sign_in::client),
    })
}

fn key_source(keys: &KeySource) -> Value {
    match keys {
        KeySource::File(file) => json!({ "jwks_file": path(file) }),
        KeySource::BuiltIn => json!({ "built_in": true }),
        KeySource::Discovery {
            authority,
            timeout,
            refresh,
            max_age,
        } => json!({ "discovery": {
            "authority": authority.as_deref().map(path),
            "timeout": duration(*timeout),
            "refresh": duration(*refresh),
            "max_age": duration(*max_age),
        }}),
    }
}

fn service(service: &ServiceAccount) -> Value {
    let ServiceAccount {
        name,
        device,
        groups,
    } = service;
    json!({ "name": name, "device": device, "groups": groups })
}

fn network(network: &Network) -> Value {
    let Network { name, ranges } = network;
    json!({ "name": name, "ranges": ranges })
}

fn app(app: &App) -> Value {
    let App {
        name,
        level,
        groups,
        hosts,
        path_prefix,
        requirements: demanded,
        backend: answer,
        request_headers,
        response_headers,
        max_body_bytes,
        timeouts: times,
        upgrades,
        audience,
        forward_authorization,
    } = app;
    json!({
        "name": name,
        "level": level.word(),
        "groups": groups,
        "hosts": hosts,
        "path_prefix": path_prefix,
        "require": requirements(demanded),
        "backend": backend(answer),
        "request_headers": header_edits(request_headers),
        "response_headers": header_edits(response_headers),
        "max_body": max_body_bytes.map_or_else(|| "unlimited".to_owned(), size_text),
        "timeouts": self::timeouts(times),
        "upgrades": upgrades,
        "audience": audience,
        "forward_authorization": forward_authorization,
    })
}

fn timeouts(timeouts: &Timeouts) -> Value {
    let Timeouts {
        connect,
        response_header,
        idle,
        total,
    } = timeouts;
    json!({
        "connect": duration(*connect),
        "response_header": duration(*response_header),
        "idle": duration(*idle),
        "total": total.map_or_else(|| "unlimited".to_owned(), duration),
    })
}

fn requirements(requirements: &Requirements) -> Value {
    let Requirements {
        multi_factor,
        phishing_resistant,
        max_authentication_age,
        acr_values,
        certificate_bound,
        posture,
        issuers,
    } = requirements;
    let posture: Vec<_> = posture
        .iter()
        .map(|one| json!({ "attribute": one.attribute.word(), "max_age": one.max_age.map(duration) }))
        .collect();
    json!({
        "multi_factor": multi_factor,
        "phishing_resistant": phishing_resistant,
        "max_authentication_age": max_authentication_age.map(duration),
        "acr_values": acr_values,
        "certificate_bound": certificate_bound,
        "posture": posture,
        "issuers": issuers,
    })
}

fn backend(backend: &Backend) -> Value {
    match backend {
        Backend::Proxy(proxy) => json!({ "upstream": upstream(proxy) }),
        Backend::Redirect { status, location } => {
            json!({ "redirect": { "status": status.as_u16(), "location": location } })
        }
        Backend::Fixed {
            status,
            content_type,
            body,
        } => json!({ "response": {
            "status": status.as_u16(),
            "content_type": content_type.to_str().unwrap_or_default(),
            "body_bytes": body.len(),
        }}),
    }
}

fn upstream(upstream: &Upstream) -> Value {
    let Upstream {
        servers,
        protocol,
        tls:
            UpstreamTls {
                authority,
                client_certificate,
                server_name,
                insecure,
            },
        rewrite_prefix,
        host_header,
        health: checks,
        passive: PassiveHealth { failures, ejection },
        retries,
        max_connections,
        max_idle,
        idle_timeout,
    } = upstream;
    let servers: Vec<_> = servers
        .iter()
        .map(|server| format!("{}://{}", server.scheme, server.authority))
        .collect();
    let host_header = match host_header {
        HostHeader::Preserve => "preserve",
        HostHeader::Upstream => "upstream",
        HostHeader::Literal(value) => value.to_str().unwrap_or_default(),
    };
    json!({
        "servers": servers,
        "protocol": protocol.word(),
        "insecure": insecure,
        "tls": {
            "authority": authority.as_deref().map(path),
            "client_certificate": client_certificate.as_ref().map(certificate),
            "server_name": server_name,
        },
        "rewrite_prefix": rewrite_prefix,
        "host_header": host_header,
        "health": checks.as_ref().map(health),
        "passive": { "failures": failures, "ejection": duration(*ejection) },
        "retries": retries,
        "max_connections": max_connections,
        "max_idle": max_idle,
        "idle_timeout": duration(*idle_timeout),
    })
}

fn health(health: &HealthCheck) -> Value {
    let HealthCheck {
        path,
        interval,
        timeout,
        healthy_after,
        unhealthy_after,
        statuses: (first, last),
    } = health;
    json!({
        "path": path,
        "interval": duration(*interval),
        "timeout": duration(*timeout),
        "healthy_after": healthy_after,
        "unhealthy_after": unhealthy_after,
        "statuses": format!("{first}-{last}"),
    })
}

/// Names of headers; values only of those that every client sees.
fn header_edits(edits: &HeaderEdits) -> Value {
    let HeaderEdits { set, remove } = edits;
    let shown = |value: &http::HeaderValue| {
        if value.is_sensitive() {
            "(not shown)".to_owned()
        } else {
            value.to_str().unwrap_or_default().to_owned()
        }
    };
    let set: serde_json::Map<_, _> = set
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), Value::String(shown(value))))
        .collect();
    json!({ "set": set, "remove": remove.iter().map(http::HeaderName::as_str).collect::<Vec<_>>() })
}

fn limit(limit: &Limit) -> Value {
    let Limit {
        name,
        key,
        apps,
        methods,
        requests,
        period,
        burst,
        mode,
    } = limit;
    json!({
        "name": name,
        "key": key.iter().map(|key| key.word()).collect::<Vec<_>>(),
        "apps": apps,
        "methods": methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "requests": requests,
        "period": duration(*period),
        "burst": burst,
        "mode": mode.word(),
    })
}

fn lockout(lockout: &Lockout) -> Value {
    let Lockout {
        free_failures,
        first_delay,
        max_delay,
        lock_after,
        lock,
        window,
    } = lockout;
    json!({
        "free_failures": free_failures,
        "first_delay": duration(*first_delay),
        "max_delay": duration(*max_delay),
        "lock_after": lock_after,
        "lock": duration(*lock),
        "window": duration(*window),
    })
}

fn audit(audit: &Audit) -> Value {
    let Audit {
        file,
        queue,
        on_overflow,
        sync_interval,
        query,
    } = audit;
    json!({
        "file": path(file),
        "queue": queue,
        "on_overflow": on_overflow.word(),
        "sync_interval": duration(*sync_interval),
        "query": query,
    })
}

fn runtime(runtime: &Runtime) -> Value {
    let Runtime {
        workers,
        watch,
        log_format,
        log_level,
    } = runtime;
    json!({
        "workers": workers,
        "watch": watch,
        "log_format": log_format.word(),
        "log_level": log_level.word(),
    })
}

fn certificate(files: &CertificateFiles) -> Value {
    let CertificateFiles { chain, key } = files;
    json!({ "chain": path(chain), "key": path(key) })
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn paths(all: &[std::path::PathBuf]) -> Vec<String> {
    all.iter().map(|one| path(one)).collect()
}

fn duration(duration: Duration) -> String {
    duration_text(duration)
}
