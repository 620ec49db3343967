//! Lines about handshakes that came to nothing.

use std::net::IpAddr;

use serde::Serialize;

use super::{Hex, Shown, VERSION, put};
use crate::audit::event::{Handshake, Presented, Stranger};
use crate::audit::text::{Caps, Cutter, Stamp};
use crate::limits::prefix::AddressPrefix;

#[derive(Serialize)]
struct HandshakeLine<'a> {
    v: u8,
    seq: u64,
    time: Stamp,
    r#type: &'static str,
    log: &'static str,
    generation: u64,
    cause: &'static str,
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Stamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_prefix: Option<Shown<AddressPrefix>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presented_certificate: Option<PresentedPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<StrangerPart<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    truncated: &'a [&'static str],
}

#[derive(Serialize)]
struct PresentedPart<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    thumbprint: Hex,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_after: Option<Stamp>,
}

#[derive(Serialize)]
struct StrangerPart<'a> {
    client_address: IpAddr,
    client_port: u16,
    local_address: IpAddr,
    local_port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<&'a str>,
}

pub(super) fn write(
    buffer: &mut Vec<u8>,
    caps: Caps,
    seq: u64,
    event: &Handshake,
) -> serde_json::Result<()> {
    let mut cutter = Cutter::new(caps);
    let mut line = HandshakeLine {
        v: VERSION,
        seq,
        time: Stamp::new(event.at),
        r#type: "handshake",
        log: "authentication",
        generation: event.generation,
        cause: event.cause,
        count: event.count,
        since: None,
        client_prefix: None,
        presented_certificate: None,
        connection: None,
        truncated: &[],
    };
    match &event.stranger {
        Stranger::One {
            client,
            local,
            server_name,
            certificate,
        } => {
            line.presented_certificate = certificate
                .as_ref()
                .map(|presented| PresentedPart::of(presented, &mut cutter));
            line.connection = Some(StrangerPart {
                client_address: client.ip().to_canonical(),
                client_port: client.port(),
                local_address: local.ip().to_canonical(),
                local_port: local.port(),
                server_name: server_name
                    .as_deref()
                    .map(|name| cutter.text("connection.server_name", name)),
            });
        }
        Stranger::Several { prefix, since } => {
            line.since = Some(Stamp::new(*since));
            line.client_prefix = prefix.map(Shown);
        }
    }
    line.truncated = &cutter.cut;
    put(buffer, &line)
}

impl<'a> PresentedPart<'a> {
    fn of(presented: &'a Presented, cutter: &mut Cutter) -> Self {
        let mut text = |field, text: &'a Option<Box<str>>| {
            text.as_deref().map(|text| cutter.text(field, text))
        };
        Self {
            subject: text("presented_certificate.subject", &presented.subject),
            serial: text("presented_certificate.serial", &presented.serial),
            issuer: text("presented_certificate.issuer", &presented.issuer),
            thumbprint: Hex::of(&presented.thumbprint),
            not_after: presented.not_after.map(Stamp::new),
        }
    }
}
