//! What a browser brings back from a provider (RFC 6749 §4.1.2, RFC 9207 §2), read so that it has one meaning.
//!
//! Anybody can make a browser come here with anything: each parameter at most once, in one encoding, of bounded length.

/// Longest query, bytes.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Most parameters; providers add some of their own.
const MAX_PARAMETERS: usize = 32;

/// An answer, not yet compared with anything.
pub(super) struct Callback {
    pub(super) state: String,
    /// RFC 9207
    pub(super) issuer: Option<String>,
    pub(super) outcome: Outcome,
}

/// A code, or why there is none.
pub(super) enum Outcome {
    Code(String),
    Error(String),
}

impl Callback {
    /// Reads the query of the callback's URL, as received, without `?`.
    /// # Errors: what is wrong with it.
    pub(super) fn parse(query: &str) -> Result<Self, &'static str> {
        if query.len() > MAX_QUERY_BYTES {
            return Err("longer than 16 KiB");
        }
        let mut parameters = parameters(query)?;
        let mut take = |name: &str| {
            let at = parameters.iter().position(|(found, _)| found == name)?;
            Some(parameters.swap_remove(at).1)
        };
        let state = take("state").filter(|state| !state.is_empty());
        let state = state.ok_or("no `state`")?;
        if take("response").is_some() {
            return Err("a signed answer (`response`) that was not asked for");
        }
        // Tokens belong on the way between servers; an answer with one is of a flow that was not asked for.
        if ["id_token", "access_token"]
            .iter()
            .any(|name| take(name).is_some())
        {
            return Err("a token that was not asked for");
        }
        let outcome = match (take("code"), take("error")) {
            (Some(code), None) if !code.is_empty() => Outcome::Code(code),
            (None, Some(error)) if !error.is_empty() => Outcome::Error(error),
            (Some(_), Some(_)) => return Err("both `code` and `error`"),
            (None | Some(_), None | Some(_)) => return Err("neither `code` nor `error`"),
        };
        Ok(Self {
            state,
            issuer: take("iss"),
            outcome,
        })
    }
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut parameters: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        if parameters.len() == MAX_PARAMETERS {
            return Err("too many parameters");
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name).ok_or("an encoding that cannot be read")?;
        let value = decode(value).ok_or("an encoding that cannot be read")?;
        if parameters.iter().any(|(other, _)| *other == name) {
            return Err("a repeated parameter");
        }
        parameters.push((name, value));
    }
    Ok(parameters)
}

/// `application/x-www-form-urlencoded`, without repair: whole escapes, UTF-8, no control characters.
fn decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        });
    }
    let decoded = String::from_utf8(decoded).ok()?;
    (!decoded.chars().any(char::is_control)).then_some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(query: &str) -> &'static str {
        Callback::parse(query).err().unwrap_or("accepted")
    }

    #[test]
    fn a_code_comes_with_its_state() {
        let query = "code=a%2Fb&state=s&iss=https%3A%2F%2Fid.example&session_state=x&scope=a+b";
        let callback = Callback::parse(query).ok().unwrap();
        assert_eq!(callback.state, "s");
        assert_eq!(callback.issuer.as_deref(), Some("https://id.example"));
        assert!(matches!(callback.outcome, Outcome::Code(code) if code == "a/b"));
    }

    #[test]
    fn an_error_comes_with_its_state() {
        let callback = Callback::parse("error=access_denied&error_description=no+way&state=s");
        let outcome = callback.ok().unwrap().outcome;
        assert!(matches!(outcome, Outcome::Error(error) if error == "access_denied"));
    }

    #[test]
    fn missing_and_repeated_parameters_are_refused() {
        for (query, expected) in [
            ("", "no `state`"),
            ("code=a", "no `state`"),
            ("code=a&state=", "no `state`"),
            ("state=s", "neither `code` nor `error`"),
            ("state=s&code=", "neither `code` nor `error`"),
            ("state=s&error=", "neither `code` nor `error`"),
            ("state=s&code=a&error=b", "both `code` and `error`"),
            ("state=s&code=a&code=a", "a repeated parameter"),
            ("state=s&state=t&code=a", "a repeated parameter"),
            ("state=s&code=a&%63ode=b", "a repeated parameter"),
            ("state=s&code=a&iss=x&iss=y", "a repeated parameter"),
            ("state=s&code=a&x=1&x=1", "a repeated parameter"),
            (
                "state=s&code=a&id_token=x",
                "a token that was not asked for",
            ),
            (
                "state=s&response=x",
                "a signed answer (`response`) that was not asked for",
            ),
            ("state=s&code=%", "an encoding that cannot be read"),
            ("state=s&code=%4", "an encoding that cannot be read"),
            ("state=s&code=%+1", "an encoding that cannot be read"),
            ("state=s&code=%ff", "an encoding that cannot be read"),
            ("state=s&code=a%00", "an encoding that cannot be read"),
            ("state=s&code=a%0d%0ab", "an encoding that cannot be read"),
        ] {
            assert_eq!(fault(query), expected, "{query}");
        }
        assert_eq!(fault(&"a".repeat(20_000)), "longer than 16 KiB");
        let many: Vec<String> = (0..40).map(|number| format!("p{number}=1")).collect();
        assert_eq!(fault(&many.join("&")), "too many parameters");
    }

    proptest! {
        #[test]
        fn text_never_panics(query in ".{0,200}") {
            let _ = Callback::parse(&query);
        }

        #[test]
        fn what_a_provider_encodes_is_read_back(code in "[ -~]{1,40}", state in "[A-Za-z0-9_-]{43}") {
            let query: String = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("code", &code)
                .append_pair("state", &state)
                .finish();
            let callback = Callback::parse(&query).ok().unwrap();
            prop_assert_eq!(callback.state, state);
            prop_assert!(matches!(callback.outcome, Outcome::Code(read) if read == code));
        }
    }
}
