//! `WWW-Authenticate` for Bearer tokens: RFC 6750 §3, RFC 9470 §3, RFC 9728 §5.1.

use std::fmt::Write as _;

use http::HeaderValue;

use crate::denial::{AssuranceChallenge, DenialReason};

/// The header for a refusal; `None` where another credential would not help. `metadata_url` is where the app's protected
/// resource metadata is.
pub fn header(
    reason: DenialReason,
    challenge: Option<&AssuranceChallenge>,
    metadata_url: Option<&str>,
) -> Option<HeaderValue> {
    let error = error(reason)?;
    let mut text = String::from("Bearer realm=\"masugata\"");
    if let Some((code, description)) = error {
        push(&mut text, "error", code);
        push(&mut text, "error_description", description);
    }
    if let Some(challenge) = challenge {
        push_challenge(&mut text, challenge);
    }
    if let Some(url) = metadata_url {
        push(&mut text, "resource_metadata", url);
    }
    HeaderValue::try_from(text).ok()
}

/// `None`: no challenge. `Some(None)`: one without an error, since no token was sent (RFC 6750 §3.1).
fn error(reason: DenialReason) -> Option<Option<(&'static str, &'static str)>> {
    let error = match reason {
        DenialReason::CredentialMissing => return Some(None),
        DenialReason::CredentialMalformed => {
            ("invalid_request", "exactly one Bearer token is expected")
        }
        DenialReason::CredentialInvalid => ("invalid_token", "the token is not accepted here"),
        DenialReason::CredentialExpired => {
            ("invalid_token", "the token expired or is not valid yet")
        }
        DenialReason::CredentialNotBound => (
            "invalid_token",
            "the token must be bound to the certificate of this connection",
        ),
        DenialReason::AssuranceInsufficient => (
            "insufficient_user_authentication",
            "a stronger or more recent authentication is required",
        ),
        DenialReason::RequestMalformed
        | DenialReason::RequestAmbiguous
        | DenialReason::HeaderTooLarge
        | DenialReason::MethodNotAllowed
        | DenialReason::Misdirected
        | DenialReason::RouteNotFound
        | DenialReason::LoopDetected
        | DenialReason::DeviceCertificateMissing
        | DenialReason::DeviceCertificateExpired
        | DenialReason::DeviceCertificateRevoked
        | DenialReason::DeviceUnknown
        | DenialReason::DeviceAmbiguous
        | DenialReason::DeviceSuspended
        | DenialReason::IssuerUnavailable
        | DenialReason::LockedOut
        | DenialReason::AccountDisabled
        | DenialReason::PostureMissing
        | DenialReason::PostureStale
        | DenialReason::PostureFailing
        | DenialReason::NoPermit
        | DenialReason::Forbidden
        | DenialReason::PolicyError
        | DenialReason::QuotaExceeded
        | DenialReason::BodyTooLarge
        | DenialReason::UpgradeNotAllowed
        | DenialReason::AuditUnavailable
        | DenialReason::Overloaded
        | DenialReason::DestinationPortRefused
        | DenialReason::DestinationProhibited
        | DenialReason::ReasonNeeded
        | DenialReason::ListsUnavailable
        | DenialReason::SniMismatch
        | DenialReason::TunnelNotTls
        | DenialReason::Internal => return None,
    };
    Some(Some(error))
}

fn push_challenge(text: &mut String, challenge: &AssuranceChallenge) {
    let values: Vec<&str> = challenge
        .acr_values
        .iter()
        .map(String::as_str)
        .filter(|value| is_acr_value(value))
        .collect();
    if !values.is_empty() {
        push(text, "acr_values", &values.join(" "));
    }
    if let Some(seconds) = challenge.max_age {
        push(text, "max_age", &seconds.to_string());
    }
}

/// The list is separated by spaces, so a value cannot have any; the rest is what a header can carry.
fn is_acr_value(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Appends a parameter as a quoted-string (RFC 9110 §5.6.4).
fn push(text: &mut String, name: &str, value: &str) {
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    let _ = write!(text, ", {name}=\"{escaped}\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(
        reason: DenialReason,
        challenge: Option<&AssuranceChallenge>,
        url: Option<&str>,
    ) -> String {
        header(reason, challenge, url)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn a_missing_token_gets_no_error_but_the_way_to_one() {
        let url = "https://app.example/.well-known/oauth-protected-resource";
        insta::assert_snapshot!(
            text(DenialReason::CredentialMissing, None, Some(url)),
            @r#"Bearer realm="masugata", resource_metadata="https://app.example/.well-known/oauth-protected-resource""#
        );
    }

    #[test]
    fn a_step_up_names_what_to_ask_for() {
        let challenge = AssuranceChallenge {
            acr_values: vec!["gold".into(), "urn:okta:loa:2fa:any".into()],
            max_age: Some(300),
        };
        insta::assert_snapshot!(
            text(DenialReason::AssuranceInsufficient, Some(&challenge), None),
            @r#"Bearer realm="masugata", error="insufficient_user_authentication", error_description="a stronger or more recent authentication is required", acr_values="gold urn:okta:loa:2fa:any", max_age="300""#
        );
    }

    #[test]
    fn values_cannot_leave_their_quotes() {
        let challenge = AssuranceChallenge {
            acr_values: vec![
                "a\"b\\c".into(),
                "two words".into(),
                "x\r\ny".into(),
                "".into(),
            ],
            max_age: None,
        };
        insta::assert_snapshot!(
            text(DenialReason::AssuranceInsufficient, Some(&challenge), None),
            @r#"Bearer realm="masugata", error="insufficient_user_authentication", error_description="a stronger or more recent authentication is required", acr_values="a\"b\\c""#
        );
    }

    #[test]
    fn every_refusal_of_a_credential_is_challenged_and_no_other() {
        for reason in DenialReason::ALL {
            let expected = matches!(
                reason.code(),
                "credential-missing"
                    | "credential-malformed"
                    | "credential-invalid"
                    | "credential-expired"
                    | "credential-not-bound"
                    | "assurance-insufficient"
            );
            assert_eq!(header(reason, None, None).is_some(), expected, "{reason:?}");
        }
    }
}
