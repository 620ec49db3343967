//! The strings a configuration or inventory may hold: how each kind is written, and what to say when it is not.
//!
//! One trait ties together what the file's reader, the JSON Schema and the checker need to agree on: [`Written`].
//! Enumerated words live in `words`, quantities in `quantity`, names of places in `address` and
//! `egress`, HTTP and claims in `http`.

mod address;
mod egress;
mod http;
mod quantity;
mod sign_in;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

pub use self::address::{
    FilePath, HostPattern, IssuerUrl, Name, PathPrefix, PlainText, RequestPath,
};
pub use self::egress::{Endpoint, FeedUrl, HostName, MinisignKey, PacProxy, Sha256};
pub use self::http::{
    AcrValue, ClaimPath, ContentType, EditedHeader, HeaderText, Location, SecretHeaderText,
    StatusRange, TokenType,
};
pub use self::quantity::{Size, Unlimited, duration_text, size_text};
pub use self::sign_in::{Colour, Scope};
pub use self::words::{Vocabulary, Word, refused_word};

pub(crate) use self::address::is_loopback;
pub(crate) use self::quantity::Bounds;

/// Why a text is not what its place asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Continues "`<text>` in `<key>` …".
    pub why: String,
    /// A way forward.
    pub help: String,
}

impl Fault {
    /// A fault in two half sentences.
    pub fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            help: help.into(),
        }
    }
}

/// A value written as one string.
pub trait Written: Sized {
    /// Names the kind in the schema (`x-kind`), so that the checker finds the parser again.
    const KIND: &'static str;
    /// One correct example.
    const EXAMPLE: &'static str;
    /// A regular expression for editors; looser than `parse`. Empty: none.
    const PATTERN: &'static str = "";

    /// # Errors
    /// A [`Fault`] that says what is wrong and how to write it.
    fn parse(text: &str) -> Result<Self, Fault>;

    /// What editors are told.
    fn schema() -> Map<String, Value> {
        let mut schema = Map::new();
        schema.insert("type".into(), json!("string"));
        schema.insert("x-kind".into(), json!(Self::KIND));
        if !Self::PATTERN.is_empty() {
            schema.insert("pattern".into(), json!(Self::PATTERN));
        }
        if !Self::EXAMPLE.is_empty() {
            schema.insert("examples".into(), json!([Self::EXAMPLE]));
        }
        schema
    }
}

/// A [`Written`] value and where in the file it stands.
#[derive(Clone, Debug)]
pub struct Text<T> {
    /// What it means.
    pub value: T,
    /// Bytes of the file, for messages.
    pub span: Range<usize>,
}

impl<'de, T: Written> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<String>::deserialize(deserializer)?;
        let value = T::parse(spanned.get_ref())
            .map_err(|fault| serde::de::Error::custom(format_args!("{} {}", T::KIND, fault.why)))?;
        Ok(Self {
            value,
            span: spanned.span(),
        })
    }
}

impl<T: Written> JsonSchema for Text<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::KIND.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema().into()
    }
}

/// A number or truth value, and where in the file it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// What is written.
    pub value: T,
    /// Bytes of the file, for messages.
    pub span: Range<usize>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = toml::Spanned::<T>::deserialize(deserializer)?;
        let span = spanned.span();
        Ok(Self {
            value: spanned.into_inner(),
            span,
        })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Parses and forgets: what the checker needs of a kind.
type Check = fn(&str) -> Result<(), Fault>;

/// The parser of the kind that a schema names with `x-kind`.
pub(crate) fn check_of(kind: &str) -> Option<Check> {
    fn entry<T: Written>() -> (&'static str, Check) {
        (T::KIND, |text| T::parse(text).map(drop))
    }
    [
        entry::<std::time::Duration>(),
        entry::<Unlimited<std::time::Duration>>(),
        entry::<Size>(),
        entry::<Unlimited<Size>>(),
        entry::<std::net::SocketAddr>(),
        entry::<ipnet::IpNet>(),
        entry::<HostPattern>(),
        entry::<HostName>(),
        entry::<super::egress::DomainPattern>(),
        entry::<Endpoint>(),
        entry::<FeedUrl>(),
        entry::<PacProxy>(),
        entry::<super::egress::PacElsewhere>(),
        entry::<MinisignKey>(),
        entry::<Sha256>(),
        entry::<Name>(),
        entry::<PlainText>(),
        entry::<FilePath>(),
        entry::<PathPrefix>(),
        entry::<RequestPath>(),
        entry::<IssuerUrl>(),
        entry::<super::UpstreamServer>(),
        entry::<super::HostHeader>(),
        entry::<jiff::tz::TimeZone>(),
        entry::<EditedHeader>(),
        entry::<HeaderText>(),
        entry::<SecretHeaderText>(),
        entry::<ContentType>(),
        entry::<Location>(),
        entry::<::http::Method>(),
        entry::<StatusRange>(),
        entry::<AcrValue>(),
        entry::<ClaimPath>(),
        entry::<TokenType>(),
        entry::<Scope>(),
        entry::<Colour>(),
        entry::<crate::inventory::Instant>(),
        entry::<crate::inventory::Version>(),
        entry::<crate::inventory::Identity>(),
        entry::<crate::inventory::PrincipalId>(),
    ]
    .into_iter()
    .find_map(|(name, check)| (name == kind).then_some(check))
}

/// The author's text for a message: one line, without control characters, at most 60 characters.
pub(crate) fn quoted(text: &str) -> impl fmt::Display {
    const MOST: usize = 60;
    let mut shown: String = text
        .chars()
        .take(MOST)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().count() > MOST {
        shown.push('…');
    }
    format!("`{shown}`")
}
