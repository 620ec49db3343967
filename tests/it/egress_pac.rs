//! PAC files in an engine: exactly the agreed scope goes through the gateway, whatever a host is called.

use boa_engine::{Context, JsValue, Source, js_string};
use masugata::config::egress::{DomainPattern, PacElsewhere, PacFile, PacScope};
use masugata::destination::pac;
use proptest::prelude::*;

const GATEWAY: &str = "HTTPS proxy.corp.example:8443; HTTPS proxy2.corp.example:8443";
const OFFICE: &str = "PROXY office.corp.example:3128";

/// A PAC file in a JavaScript engine.
struct Engine(Context);

impl Engine {
    fn new(file: &PacFile) -> Self {
        let own = ["proxy.corp.example", "why.corp.example", "pac.corp.example"];
        let mut context = Context::default();
        let script = pac::text(file, &own);
        context
            .eval(Source::from_bytes(script.as_bytes()))
            .unwrap_or_else(|error| panic!("{error}\n{script}"));
        Self(context)
    }

    fn ask(&mut self, host: &str) -> String {
        let context = &mut self.0;
        let find = context
            .global_object()
            .get(js_string!("FindProxyForURL"), context)
            .unwrap();
        let find = find.as_callable().unwrap().clone();
        let url = JsValue::from(js_string!(format!("https://{host}/")));
        let answer = find
            .call(
                &JsValue::undefined(),
                &[url, JsValue::from(js_string!(host))],
                context,
            )
            .unwrap_or_else(|error| panic!("{host:?}: {error}"));
        answer.as_string().unwrap().to_std_string_escaped()
    }
}

fn proxies() -> Vec<String> {
    GATEWAY.split("; ").map(str::to_owned).collect()
}

fn pattern(text: &str) -> DomainPattern {
    DomainPattern {
        name: text.trim_start_matches('.').to_owned(),
        below: text.starts_with('.'),
    }
}

fn patterns(texts: &[&str]) -> Vec<DomainPattern> {
    texts.iter().map(|text| pattern(text)).collect()
}

/// Two cloud services through the gateway, the company's own network direct.
fn staff(elsewhere: PacElsewhere) -> PacFile {
    PacFile {
        name: "staff".to_owned(),
        proxies: proxies(),
        proxied: PacScope::Only(patterns(&[
            ".box.com",
            "login.example",
            ".cloud.corp.example",
            ".xn--wgv71a119e.jp",
        ])),
        direct: patterns(&[".corp.example", "intranet", "status.box.com"]),
        elsewhere,
    }
}

#[test]
fn the_agreed_scope_goes_through_the_gateway_and_nothing_else() {
    let mut engine = Engine::new(&staff(PacElsewhere::Proxy(OFFICE.to_owned())));
    for host in [
        "box.com",
        "a.b.box.com",
        "login.example",
        "x.cloud.corp.example",
        "www.xn--wgv71a119e.jp",
    ] {
        assert_eq!(engine.ask(host), GATEWAY, "{host}");
    }
    for host in [
        "www.example",
        "evilbox.com",
        "box.com.evil.example",
        "www.login.example",
        "com",
    ] {
        assert_eq!(engine.ask(host), OFFICE, "{host}");
    }
    // The most specific wins.
    for host in [
        "corp.example",
        "erp.corp.example",
        "intranet",
        "status.box.com",
        "localhost",
        "a.localhost",
        "127.0.0.1",
        "::1",
        "[::1]",
    ] {
        assert_eq!(engine.ask(host), "DIRECT", "{host}");
    }
}

#[test]
fn elsewhere_is_what_was_written() {
    let ask = |elsewhere| Engine::new(&staff(elsewhere)).ask("www.example");
    assert_eq!(ask(PacElsewhere::Gateway), GATEWAY);
    assert_eq!(ask(PacElsewhere::Direct), "DIRECT");
    assert_eq!(ask(PacElsewhere::Proxy(OFFICE.to_owned())), OFFICE);
}

#[test]
fn everything_is_everything_but_ourselves_and_what_is_direct() {
    let mut engine = Engine::new(&PacFile {
        name: "all".to_owned(),
        proxies: proxies(),
        proxied: PacScope::Everything,
        direct: patterns(&[".corp.example"]),
        elsewhere: PacElsewhere::Gateway,
    });
    assert_eq!(engine.ask("www.example"), GATEWAY);
    assert_eq!(engine.ask("10.0.0.1"), GATEWAY);
    assert_eq!(engine.ask("2001:db8::1"), GATEWAY);
    assert_eq!(engine.ask("erp.corp.example"), "DIRECT");
    assert_eq!(engine.ask("why.corp.example"), "DIRECT");
}

// Pages of the gateway itself, under a domain that goes through it.
#[test]
fn the_gateway_is_never_reached_through_itself() {
    let mut file = staff(PacElsewhere::Direct);
    file.proxied = PacScope::Only(patterns(&[".corp.example", "why.corp.example"]));
    file.direct.clear();
    let mut engine = Engine::new(&file);
    assert_eq!(engine.ask("why.corp.example"), "DIRECT");
    assert_eq!(engine.ask("erp.corp.example"), GATEWAY);
    assert_eq!(engine.ask("x.why.corp.example"), GATEWAY);
}

// Attack: a spelling of a controlled host that the script does not recognise and sends past the gateway.
#[test]
fn a_controlled_host_goes_through_the_gateway_in_every_spelling() {
    let mut engine = Engine::new(&staff(PacElsewhere::Direct));
    for host in [
        "BOX.COM",
        "Box.Com",
        "box.com.",
        "box.com..",
        "a.BOX.com.",
        ".box.com",
        "..box.com",
        "a..box.com",
        "\u{212a}.box.com",
        "a b.box.com",
        "*.box.com",
        "'\".box.com",
        "\\.box.com",
        "\n.box.com",
        "127.0.0.1.box.com",
        "localhost.box.com",
        "corp.example.box.com",
        "__proto__.box.com",
        "%2e.box.com",
    ] {
        assert_eq!(engine.ask(host), GATEWAY, "{host:?}");
    }
}

// Attack: names that mean something to the engine, and names that never end.
#[test]
fn hostile_names_are_names() {
    let mut engine = Engine::new(&staff(PacElsewhere::Proxy(OFFICE.to_owned())));
    let long = "a.".repeat(5000);
    for host in [
        "__proto__",
        "constructor",
        "toString",
        "hasOwnProperty",
        "valueOf",
        "__defineGetter__",
        "constructor.prototype",
        "",
        ".",
        "....",
        "[",
        "]",
        "[]",
        "127.0.0.1.evil.example",
        "127.0.0.1\nevil.example",
        "127.1",
        "0x7f.0.0.1",
        "localhost.evil.example",
        "\u{0}",
        "日本語.jp",
        "\"; return \"DIRECT",
        long.as_str(),
    ] {
        assert_eq!(engine.ask(host), OFFICE, "{host:?}");
    }
}

#[test]
fn a_hundred_thousand_bytes_of_scope_answer() {
    let many: Vec<_> = (0..5000)
        .map(|n| pattern(&format!(".s{n}.example")))
        .collect();
    let mut file = staff(PacElsewhere::Direct);
    file.proxied = PacScope::Only(many);
    let mut engine = Engine::new(&file);
    assert_eq!(engine.ask("www.s4999.example"), GATEWAY);
    assert_eq!(engine.ask("www.s5000.example"), "DIRECT");
}

fn name() -> impl Strategy<Value = String> {
    "[ab](\\.[ab]){0,3}"
}

fn any_pattern() -> impl Strategy<Value = DomainPattern> {
    (name(), any::<bool>()).prop_map(|(name, below)| DomainPattern { name, below })
}

/// The rule as people say it: a host by name beats domains, and the longest domain wins.
fn expected(file: &PacFile, host: &str) -> &'static str {
    let PacScope::Only(proxied) = &file.proxied else {
        return GATEWAY;
    };
    let ways = proxied.iter().map(|pattern| (pattern, GATEWAY));
    let ways = ways.chain(file.direct.iter().map(|pattern| (pattern, "DIRECT")));
    ways.filter(|(pattern, _)| pattern.matches(host))
        .max_by_key(|(pattern, way)| {
            let exact = !pattern.below;
            (exact, pattern.name.len(), *way == GATEWAY)
        })
        .map_or(OFFICE, |(_, way)| way)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_script_says_what_the_rule_says(
        proxied in prop::collection::vec(any_pattern(), 1..8),
        direct in prop::collection::vec(any_pattern(), 0..8),
        hosts in prop::collection::vec(name(), 1..12),
    ) {
        let file = PacFile {
            name: "any".to_owned(),
            proxies: proxies(),
            proxied: PacScope::Only(proxied),
            direct,
            elsewhere: PacElsewhere::Proxy(OFFICE.to_owned()),
        };
        let mut engine = Engine::new(&file);
        for host in hosts {
            prop_assert_eq!(engine.ask(&host), expected(&file, &host), "{}", host);
        }
    }
}
