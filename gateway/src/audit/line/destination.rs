//! The member `destination` of a decision at the egress.

use std::net::SocketAddr;

use masugata_policy::Level;
use serde::{Serialize, Serializer};

use super::Shown;
use crate::audit::event::DestinationRecord;
use crate::audit::fragments::member;
use crate::audit::text::Cutter;
use crate::audit::words;

pub(super) fn write(
    buffer: &mut Vec<u8>,
    to: &DestinationRecord,
    cutter: &mut Cutter,
) -> serde_json::Result<()> {
    let host = cutter.text("destination.host", &to.host);
    words::text(buffer, b",\"destination\":{\"host\":", host)?;
    words::number(buffer, b",\"port\":", to.port.into())?;
    let kind = if to.tunnel { "tunnel" } else { "plain" };
    words::word(buffer, b",\"kind\":", kind);
    if to.address {
        buffer.extend_from_slice(b",\"address\":true");
    }
    let domain = to.domain.as_deref();
    let domain = domain.map(|domain| cutter.text("destination.domain", domain));
    words::text_if(buffer, b",\"domain\":", domain)?;
    let categories = cutter.list("destination.categories", &to.categories);
    words::texts(buffer, b",\"categories\":", &categories)?;
    let feeds = cutter.list("destination.feeds", &to.feeds);
    words::texts(buffer, b",\"feeds\":", &feeds)?;
    words::number(buffer, b",\"lists\":", to.lists)?;
    if let Some(service) = to.service.as_deref() {
        let name = cutter.text("destination.service", service.name());
        words::text(buffer, b",\"service\":", name)?;
        let tenant = service.tenant();
        let tenant = tenant.map(|tenant| cutter.text("destination.tenant", tenant));
        words::text_if(buffer, b",\"tenant\":", tenant)?;
        words::word_if(buffer, b",\"level\":", service.level().map(Level::as_str));
    }
    if to.observed {
        buffer.extend_from_slice(b",\"observed\":true");
    }
    if !to.addresses.is_empty() {
        member(buffer, "addresses", &Addresses::of(&to.addresses, cutter))?;
    }
    buffer.push(b'}');
    Ok(())
}

/// `host:port`, each.
struct Addresses<'a>(&'a [SocketAddr]);

impl<'a> Addresses<'a> {
    fn of(all: &'a [SocketAddr], cutter: &mut Cutter) -> Self {
        let kept = all.get(..cutter.caps.list).unwrap_or(all);
        if kept.len() < all.len() {
            cutter.cut.push("destination.addresses");
        }
        Self(kept)
    }
}

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Shown))
    }
}
