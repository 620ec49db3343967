//! Lists that come with the program: resolvers over HTTPS, private relays, names that are often imitated.

/// A list of our own.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinFeed {
    /// In records, where the version is that of the program.
    pub name: &'static str,
    pub category: &'static str,
    /// Each with everything below.
    pub domains: &'static [&'static str],
}

/// Ways past the gateway's view of names. They are categories like any other: whether they are refused is policy.
pub const FEEDS: &[BuiltinFeed] = &[
    BuiltinFeed {
        name: "doh",
        category: "doh",
        domains: DOH,
    },
    BuiltinFeed {
        name: "relay",
        category: "private-relay",
        domains: RELAYS,
    },
];

/// Resolvers over HTTPS, and the canary by which browsers ask whether to use them.
const DOH: &[&str] = &[
    "use-application-dns.net",
    "cloudflare-dns.com",
    "one.one.one.one",
    "cloudflare-gateway.com",
    "dns.google",
    "dns.google.com",
    "dns64.dns.google",
    "8888.google",
    "dns.quad9.net",
    "dns9.quad9.net",
    "dns10.quad9.net",
    "dns11.quad9.net",
    "doh.opendns.com",
    "doh.familyshield.opendns.com",
    "doh.umbrella.com",
    "doh.sandbox.opendns.com",
    "dns.nextdns.io",
    "anycast.dns.nextdns.io",
    "dns.adguard.com",
    "dns.adguard-dns.com",
    "family.adguard-dns.com",
    "unfiltered.adguard-dns.com",
    "doh.cleanbrowsing.org",
    "freedns.controld.com",
    "dns.controld.com",
    "doh.mullvad.net",
    "dns.mullvad.net",
    "dns.iij.jp",
    "public.dns.iij.jp",
    "dns.alidns.com",
    "doh.pub",
    "dns.pub",
    "doh.360.cn",
    "dns.twnic.tw",
    "dns0.eu",
    "dns.digitale-gesellschaft.ch",
    "dns.switch.ch",
    "doh.li",
    "doh.libredns.gr",
    "doh.applied-privacy.net",
    "doh.ffmuc.net",
    "doh.dns.sb",
    "doh.sb",
    "dns.sb",
    "doh.xfinity.com",
    "doh.tiar.app",
    "doh.tiarap.org",
    "dns.rabbitdns.org",
    "ordns.he.net",
    "wikimedia-dns.org",
    "doh.appliedprivacy.net",
    "dnsforge.de",
    "dnsforfamily.com",
    "base.dns.mullvad.net",
    "doh.dnslify.com",
    "odvr.nic.cz",
    "dns.njal.la",
    "resolver-eu.lelux.fi",
    "doh.crypto.sx",
    "odoh.cloudflare-dns.com",
    "mozilla.cloudflare-dns.com",
    "chrome.cloudflare-dns.com",
    "firefox.dns.nextdns.io",
];

/// Relays that carry a browser's traffic past whoever looks after the network.
const RELAYS: &[&str] = &[
    "mask.icloud.com",
    "mask-h2.icloud.com",
    "mask-api.icloud.com",
    "mask.apple-dns.net",
    "mask-canary.icloud.com",
    "canary.mask.apple-dns.net",
    "tunnel.googlezip.net",
    "edge-tunnel.microsoft.com",
];

/// Names that people trust at sight, and so names that are imitated: banks, shops, carriers and services that companies
/// in Japan use. A host that looks like one of them and is not is `look-alike`.
pub const BRANDS: &[&str] = &[
    "amazon.co.jp",
    "amazon.com",
    "amazonaws.com",
    "apple.com",
    "au.com",
    "aupay.wallet.auone.jp",
    "box.com",
    "chatwork.com",
    "cybozu.com",
    "docomo.ne.jp",
    "dropbox.com",
    "e-tax.nta.go.jp",
    "eposcard.co.jp",
    "etc-meisai.jp",
    "facebook.com",
    "freee.co.jp",
    "github.com",
    "gitlab.com",
    "gmail.com",
    "google.com",
    "icloud.com",
    "instagram.com",
    "jal.co.jp",
    "japanpost.jp",
    "jcb.co.jp",
    "jibunbank.co.jp",
    "jp-bank.japanpost.jp",
    "kintone.com",
    "kuronekoyamato.co.jp",
    "line.me",
    "linkedin.com",
    "live.com",
    "mercari.com",
    "microsoft.com",
    "microsoftonline.com",
    "mizuhobank.co.jp",
    "moneyforward.com",
    "mufg.jp",
    "netflix.com",
    "ntt.com",
    "office.com",
    "office365.com",
    "okta.com",
    "outlook.com",
    "paypal.com",
    "paypay.ne.jp",
    "rakuten.co.jp",
    "rakuten-bank.co.jp",
    "rakuten-card.co.jp",
    "resonabank.co.jp",
    "sagawa-exp.co.jp",
    "saisoncard.co.jp",
    "salesforce.com",
    "sansan.com",
    "sbi.co.jp",
    "sharepoint.com",
    "slack.com",
    "smartnews.com",
    "smbc.co.jp",
    "smbc-card.com",
    "softbank.jp",
    "twitter.com",
    "uniqlo.com",
    "vpass.ne.jp",
    "yahoo.co.jp",
    "youtube.com",
    "zoom.us",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::name::{ascii, registrable};

    #[test]
    fn every_name_is_in_the_spelling_that_hosts_have() {
        let lists = FEEDS.iter().flat_map(|feed| feed.domains);
        for name in lists.chain(BRANDS) {
            assert_eq!(ascii(name).as_deref(), Some(*name));
            assert!(registrable(name).is_some(), "{name} is a public suffix");
        }
    }
}
