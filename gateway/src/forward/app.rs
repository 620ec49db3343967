//! What forwarding needs to know of an app, worked out when the configuration is loaded.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Version, header};

use super::headers::{self, Edits};
use super::uri::PrefixRewrite;
use crate::capability::Entropy;
use crate::config::{self, HeaderEdits, Timeouts};
use crate::upstream::{Group, TlsTerms, UpstreamError};

/// This process, as it names itself in `Via`, and what its connections to upstreams keep to. The random part tells it from others of its kind, in front of or behind
/// it, so that only a real loop looks like one.
pub struct Instance {
    pseudonym: Box<str>,
    via_1_0: HeaderValue,
    via_1_1: HeaderValue,
    via_2_0: HeaderValue,
    pub(super) entropy: Arc<dyn Entropy>,
    terms: TlsTerms,
}

impl Instance {
    /// A new name for this run of the process.
    pub fn new(entropy: Arc<dyn Entropy>, terms: TlsTerms) -> Self {
        let mut random = [0; 4];
        entropy.fill(&mut random);
        let pseudonym = format!("masugata-{:08x}", u32::from_be_bytes(random));
        let via = |version| {
            HeaderValue::try_from(format!("{} {pseudonym}", headers::via_version(version)))
                .unwrap_or_else(|_| HeaderValue::from_static("1.1 masugata"))
        };
        Self {
            via_1_0: via(Version::HTTP_10),
            via_1_1: via(Version::HTTP_11),
            via_2_0: via(Version::HTTP_2),
            pseudonym: pseudonym.into(),
            entropy,
            terms,
        }
    }

    /// The same process under another configuration.
    #[must_use]
    pub fn with_terms(&self, terms: TlsTerms) -> Self {
        Self {
            pseudonym: self.pseudonym.clone(),
            via_1_0: self.via_1_0.clone(),
            via_1_1: self.via_1_1.clone(),
            via_2_0: self.via_2_0.clone(),
            entropy: Arc::clone(&self.entropy),
            terms,
        }
    }

    /// What [`headers::is_loop`] looks for.
    pub fn pseudonym(&self) -> &str {
        &self.pseudonym
    }

    /// Our element of `Via` for a message received in this version.
    pub(super) fn via(&self, version: Version) -> &HeaderValue {
        match version {
            Version::HTTP_2 => &self.via_2_0,
            Version::HTTP_10 => &self.via_1_0,
            _ => &self.via_1_1,
        }
    }
}

/// See the module's first line.
pub struct AppForward {
    pub(super) group: Arc<Group>,
    pub(super) request_edits: Edits,
    pub(super) response_edits: Edits,
    pub(super) rewrite: Option<PrefixRewrite>,
    pub(super) host: HostChoice,
    pub(super) timeouts: Timeouts,
    pub(super) max_body_bytes: Option<u64>,
    pub(super) upgrades: bool,
    pub(super) forward_authorization: bool,
    /// See [`headers::RequestFacts`].
    pub(super) disclose: bool,
    pub(super) instance: Arc<Instance>,
}

/// Whom the upstream is told it is.
#[derive(Clone, Debug)]
pub(super) enum HostChoice {
    Preserve,
    Upstream,
    Literal(HeaderValue, Authority),
}

impl AppForward {
    /// Prepares an app whose backend is `upstream`. `previous` is the app's group before a reload.
    ///
    /// # Errors
    /// A file that cannot be used; a header edit that would break framing or forge what only we say; a literal host that
    /// is none.
    pub fn build(
        app: &config::App,
        upstream: &config::Upstream,
        instance: &Arc<Instance>,
        previous: Option<&Arc<Group>>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let group = Group::build(
            &app.name,
            upstream,
            app.timeouts.connect,
            &instance.terms,
            previous,
        )?;
        let host = match &upstream.host_header {
            config::HostHeader::Preserve => HostChoice::Preserve,
            config::HostHeader::Upstream => HostChoice::Upstream,
            config::HostHeader::Literal(value) => HostChoice::Literal(
                value.clone(),
                Authority::try_from(value.as_bytes())
                    .map_err(|_| UpstreamError::plain("the literal host header is not a host"))?,
            ),
        };
        Ok(Arc::new(Self {
            group,
            request_edits: edits(&app.request_headers)?,
            response_edits: edits(&app.response_headers)?,
            rewrite: upstream
                .rewrite_prefix
                .as_deref()
                .map(|to| PrefixRewrite::new(&app.path_prefix, to)),
            host,
            timeouts: app.timeouts.clone(),
            max_body_bytes: app.max_body_bytes,
            upgrades: app.upgrades,
            forward_authorization: app.forward_authorization,
            disclose: true,
            instance: Arc::clone(instance),
        }))
    }

    /// Prepares somebody on the Internet, whose addresses `group` has been given: told nothing about the client, and
    /// addressed as `host`, whatever the client wrote (RFC 9112 §3.2.2).
    ///
    /// # Errors
    /// When `host` is none.
    pub(crate) fn abroad(
        group: Arc<Group>,
        host: &Authority,
        timeouts: &Timeouts,
        instance: &Arc<Instance>,
    ) -> Result<Arc<Self>, UpstreamError> {
        let value = HeaderValue::from_str(host.as_str())
            .map_err(|_| UpstreamError::plain(format!("`{host}` is not a host")))?;
        Ok(Arc::new(Self {
            group,
            request_edits: Edits::default(),
            response_edits: Edits::default(),
            rewrite: None,
            host: HostChoice::Literal(value, host.clone()),
            timeouts: timeouts.clone(),
            max_body_bytes: None,
            upgrades: true,
            forward_authorization: true,
            disclose: false,
            instance: Arc::clone(instance),
        }))
    }

    /// The servers behind the app, for the next reload and for the administrators' listener.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

impl std::fmt::Debug for AppForward {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Header edits may hold secrets.
        formatter
            .debug_struct("AppForward")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_tuple("Instance")
            .field(&self.pseudonym)
            .finish()
    }
}

fn edits(configured: &HeaderEdits) -> Result<Edits, UpstreamError> {
    let names = configured
        .remove
        .iter()
        .chain(configured.set.iter().map(|(name, _)| name));
    for name in names {
        if !headers::is_editable(name) {
            return Err(reserved(name));
        }
    }
    Ok(Edits {
        set: configured.set.clone(),
        remove: configured.remove.clone(),
    })
}

fn reserved(name: &HeaderName) -> UpstreamError {
    let way_out = if *name == header::HOST {
        "; use `host_header`"
    } else {
        ""
    };
    UpstreamError::plain(format!("the header `{name}` cannot be edited{way_out}"))
}
