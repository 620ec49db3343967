//! Cloud services that the configuration knows, by host.

use std::sync::Arc;

use ahash::AHashMap;
use masugata_policy::CloudService;

use crate::config::egress::CloudService as ServiceSpec;

/// A cloud service as requests meet it.
#[derive(Debug)]
pub struct Service {
    /// As policies see it.
    pub policy: Arc<CloudService>,
    /// Open beside those of the door; sorted.
    pub ports: Box<[u16]>,
    /// What it is whatever lists say; sorted.
    pub categories: Box<[Arc<str>]>,
}

/// Services by the names in their patterns.
#[derive(Debug, Default)]
pub struct Services {
    by_name: AHashMap<Box<str>, Named>,
}

#[derive(Debug, Default)]
struct Named {
    host: Option<Arc<Service>>,
    domain: Option<Arc<Service>>,
}

impl Services {
    pub fn new(specs: &[ServiceSpec]) -> Self {
        let mut by_name: AHashMap<Box<str>, Named> = AHashMap::new();
        for spec in specs {
            let mut categories: Vec<Arc<str>> = spec
                .categories
                .iter()
                .map(|name| name.as_str().into())
                .collect();
            categories.sort_unstable();
            let groups = spec.groups.iter().map(String::as_str);
            let service = Arc::new(Service {
                policy: Arc::new(CloudService::new(
                    &spec.name,
                    spec.level,
                    spec.tenant.as_deref(),
                    groups,
                )),
                ports: spec.ports.clone().into(),
                categories: categories.into(),
            });
            for pattern in &spec.hosts {
                let named = by_name.entry(pattern.name.as_str().into()).or_default();
                let place = if pattern.below {
                    &mut named.domain
                } else {
                    &mut named.host
                };
                *place = Some(Arc::clone(&service));
            }
        }
        Self { by_name }
    }

    /// The service of the most specific pattern that `host` matches.
    pub fn find(&self, host: &str) -> Option<&Arc<Service>> {
        if self.by_name.is_empty() {
            return None;
        }
        if let Some(service) = self.by_name.get(host).and_then(|named| named.host.as_ref()) {
            return Some(service);
        }
        let mut rest = Some(host);
        while let Some(name) = rest {
            if let Some(service) = self
                .by_name
                .get(name)
                .and_then(|named| named.domain.as_ref())
            {
                return Some(service);
            }
            rest = name.split_once('.').map(|(_, parent)| parent);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::egress::DomainPattern;

    #[test]
    fn the_most_specific_pattern_wins() {
        let spec = |name: &str, hosts: &[&str]| ServiceSpec {
            name: name.to_owned(),
            hosts: hosts
                .iter()
                .map(|host| DomainPattern {
                    name: host.trim_start_matches('.').to_owned(),
                    below: host.starts_with('.'),
                })
                .collect(),
            level: None,
            tenant: None,
            groups: Vec::new(),
            categories: Vec::new(),
            ports: Vec::new(),
        };
        let services = Services::new(&[
            spec("all", &[".box.com"]),
            spec("corp", &["corp.box.com", ".files.corp.box.com"]),
        ]);
        let name = |host| services.find(host).map(|service| service.policy.name());
        assert_eq!(name("box.com"), Some("all"));
        assert_eq!(name("a.b.box.com"), Some("all"));
        assert_eq!(name("corp.box.com"), Some("corp"));
        assert_eq!(name("x.corp.box.com"), Some("all"));
        assert_eq!(name("x.files.corp.box.com"), Some("corp"));
        assert_eq!(name("evilbox.com"), None);
    }
}
