//! How well somebody proved who they are: from `acr` and `amr` to "multi-factor" and "phishing-resistant", and whether
//! that is enough for an app.
//!
//! `acr` comes first, because its values mean what the issuer's administrator configured. `amr` (RFC 8176) is evidence:
//! its values are sorted into the three classes of factors, and two different classes make two factors. A value that is
//! not in the table counts as nothing.

use std::time::Duration;

use masugata_policy::{Authentication, Timestamp};

use crate::config::{self, Requirements};
use crate::denial::{AssuranceChallenge, Denial, DenialReason};

use super::error::BindingFault;

/// What a factor is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Factor {
    /// Something known.
    Knowledge,
    /// Something held.
    Possession,
    /// Something one is.
    Inherence,
}

/// What one RFC 8176 §2 method reference says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Factor(Factor),
    /// The issuer itself says that there were several factors.
    Several,
    /// Circumstances, presence, channels: no factor.
    Context,
    Unknown,
}

fn method(reference: &str) -> Method {
    match reference {
        "pwd" | "pin" | "kba" => Method::Factor(Factor::Knowledge),
        // `pop` is not in RFC 8176; OpenID registered it later for proof of possession of a key.
        "otp" | "sms" | "tel" | "hwk" | "swk" | "sc" | "pop" => Method::Factor(Factor::Possession),
        "face" | "fpt" | "iris" | "retina" | "vbm" => Method::Factor(Factor::Inherence),
        "mfa" => Method::Several,
        // `mca` is several channels, which may all carry one factor.
        "mca" | "geo" | "rba" | "user" | "wia" => Method::Context,
        _ => Method::Unknown,
    }
}

/// What a token says about how its subject was authenticated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) acr: Option<&'a str>,
    /// Authentication contexts in a list of their own, as Entra ID sends them.
    pub(super) acrs: &'a [&'a str],
    pub(super) amr: &'a [&'a str],
}

/// What that amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assurance<'a> {
    pub(super) multi_factor: bool,
    /// Multi-factor only because the configuration says that this issuer always demands it.
    pub(super) out_of_band: bool,
    pub(super) phishing_resistant: bool,
    /// The context class that counted, else `acr` as received.
    pub(super) acr: Option<&'a str>,
}

/// Weighs the evidence by the issuer's configuration.
pub(super) fn weigh<'a>(issuer: &config::Issuer, evidence: Evidence<'a>) -> Assurance<'a> {
    let among = |values: &[String], acr: &str| values.iter().any(|value| value == acr);
    let contexts = || evidence.acr.iter().chain(evidence.acrs).copied();
    let resistant = contexts().find(|acr| among(&issuer.acr_phishing_resistant, acr));
    let several = contexts().find(|acr| among(&issuer.acr_multi_factor, acr));
    let proved = resistant.is_some() || several.is_some() || has_two_factors(evidence.amr);
    Assurance {
        multi_factor: proved || issuer.multi_factor_out_of_band,
        out_of_band: !proved && issuer.multi_factor_out_of_band,
        phishing_resistant: resistant.is_some(),
        acr: resistant.or(several).or(evidence.acr),
    }
}

fn has_two_factors(amr: &[&str]) -> bool {
    let mut first = None;
    amr.iter().any(|reference| match method(reference) {
        Method::Several => true,
        Method::Factor(factor) => *first.get_or_insert(factor) != factor,
        Method::Context | Method::Unknown => false,
    })
}

/// What is missing for an app.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssuranceShortfall {
    /// The app does not accept this issuer.
    #[error("the app does not accept users of issuer `{0}`")]
    Issuer(Box<str>),
    /// The app demands a certificate-bound token.
    #[error("{}", BindingFault::Demanded)]
    NotBound,
    #[error("the app demands phishing-resistant authentication")]
    PhishingResistant,
    #[error("the app demands multi-factor authentication")]
    MultiFactor,
    /// Too long ago, or not known when.
    #[error("the app demands authentication within the last {} seconds", .0.as_secs())]
    Age(Duration),
}

/// Whether an authentication by `issuer` (configured name) meets the app's requirements at `now`.
/// # Errors: the first shortfall; those that signing in again cannot help come first.
pub fn meets(
    requirements: &Requirements,
    authentication: &Authentication,
    issuer: &str,
    now: Timestamp,
) -> Result<(), AssuranceShortfall> {
    let accepted = &requirements.issuers;
    if !accepted.is_empty() && !accepted.iter().any(|name| name == issuer) {
        return Err(AssuranceShortfall::Issuer(issuer.into()));
    }
    if requirements.certificate_bound && !authentication.certificate_bound {
        return Err(AssuranceShortfall::NotBound);
    }
    if requirements.phishing_resistant && !authentication.phishing_resistant {
        return Err(AssuranceShortfall::PhishingResistant);
    }
    if requirements.multi_factor && !authentication.multi_factor {
        return Err(AssuranceShortfall::MultiFactor);
    }
    match requirements.max_authentication_age {
        Some(limit) if !is_recent(authentication, limit, now) => {
            Err(AssuranceShortfall::Age(limit))
        }
        _ => Ok(()),
    }
}

fn is_recent(authentication: &Authentication, limit: Duration, now: Timestamp) -> bool {
    authentication
        .authenticated_at
        .is_some_and(|at| now.since(at) <= limit)
}

impl AssuranceShortfall {
    /// The refusal, with the RFC 9470 §3 challenge where stronger or fresher authentication would help.
    pub fn into_denial(self, requirements: &Requirements) -> Denial {
        let reason = match self {
            Self::Issuer(_) => DenialReason::CredentialInvalid,
            Self::NotBound => DenialReason::CredentialNotBound,
            Self::PhishingResistant | Self::MultiFactor | Self::Age(_) => {
                DenialReason::AssuranceInsufficient
            }
        };
        let mut denial = Denial::new(reason).with_detail(self.to_string());
        if reason == DenialReason::AssuranceInsufficient {
            denial.challenge = Some(challenge(requirements));
        }
        denial
    }
}

/// What a client has to ask its authorization server for, to meet all that the app requires.
pub fn challenge(requirements: &Requirements) -> AssuranceChallenge {
    AssuranceChallenge {
        acr_values: requirements.acr_values.clone(),
        max_age: requirements
            .max_authentication_age
            .map(|limit| limit.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::testing;

    fn weighed(acr: Option<&str>, acrs: &[&str], amr: &[&str]) -> (bool, bool) {
        let issuer = config::Issuer {
            acr_multi_factor: vec!["2".into(), "c1".into()],
            acr_phishing_resistant: vec!["gold".into(), "c3".into()],
            ..testing::issuer_config()
        };
        let assurance = weigh(&issuer, Evidence { acr, acrs, amr });
        assert!(!assurance.out_of_band);
        (assurance.multi_factor, assurance.phishing_resistant)
    }

    #[test]
    fn factors_are_counted_by_class() {
        for (amr, expected) in [
            (&[][..], false),
            (&["pwd"], false),
            (&["pwd", "pin"], false),
            (&["pwd", "pin", "kba"], false),
            (&["otp", "sms", "tel", "hwk", "swk", "sc", "pop"], false),
            (&["face", "fpt", "iris", "retina", "vbm"], false),
            (&["pwd", "otp"], true),
            (&["pwd", "sms"], true),
            (&["pin", "hwk"], true),
            (&["pin", "sc"], true),
            (&["fpt", "swk"], true),
            (&["kba", "face"], true),
            (&["hwk", "user", "pin"], true),
            (&["mfa"], true),
            (&["pwd", "mfa"], true),
            // Channels, places, risk, presence and Windows sign-in are no factors.
            (&["mca"], false),
            (&["pwd", "mca"], false),
            (&["pwd", "geo", "rba", "user", "wia"], false),
            // Unknown values and other spellings count as nothing.
            (&["pwd", "PWD", "Otp", "MFA", "mfa ", "2fa"], false),
            (&["fido", "pwd"], false),
        ] {
            assert_eq!(weighed(None, &[], amr), (expected, false), "{amr:?}");
        }
    }

    #[test]
    fn context_classes_count_as_configured() {
        for (acr, acrs, expected) in [
            (Some("1"), &[][..], (false, false)),
            (Some("2"), &[], (true, false)),
            (Some("gold"), &[], (true, true)),
            (Some("GOLD"), &[], (false, false)),
            (Some("1"), &["c1"], (true, false)),
            (Some("1"), &["c2", "c3"], (true, true)),
            // Only what is configured counts, and by default nothing is.
            (Some("phr"), &[], (false, false)),
            (Some(""), &[""], (false, false)),
        ] {
            assert_eq!(weighed(acr, acrs, &[]), expected, "{acr:?} {acrs:?}");
        }
    }

    #[test]
    fn a_hardware_key_alone_is_not_phishing_resistant() {
        // The same references are used for one-time-password tokens and smart cards behind a form.
        assert_eq!(weighed(None, &[], &["hwk", "pin"]), (true, false));
    }

    #[test]
    fn the_context_class_that_counted_is_remembered() {
        let issuer = config::Issuer {
            acr_multi_factor: vec!["c1".into()],
            ..testing::issuer_config()
        };
        let evidence = Evidence {
            acr: Some("1"),
            acrs: &["c9", "c1"],
            amr: &["pwd"],
        };
        assert_eq!(weigh(&issuer, evidence).acr, Some("c1"));
    }

    /// How tokens of well-known providers come out without any `acr` configured.
    #[test]
    fn providers_tokens_are_weighed_as_documented() {
        let issuer = testing::issuer_config();
        for (provider, acr, amr, expected) in [
            ("Entra ID, password", Some("1"), &["pwd"][..], false),
            ("Entra ID, MFA", Some("1"), &["pwd", "mfa"], true),
            ("Entra ID, certificate", Some("1"), &["rsa"], false),
            ("Entra ID, federated", Some("1"), &["fed"], false),
            ("Entra ID, stepped up", Some("1"), &["pwd", "ngcmfa"], false),
            (
                "Okta, one factor",
                Some("urn:okta:loa:1fa:any"),
                &["pwd"],
                false,
            ),
            (
                "Okta, two factors",
                Some("urn:okta:loa:2fa:any"),
                &["pwd", "otp", "mfa"],
                true,
            ),
            ("Keycloak, default", Some("1"), &[], false),
            ("Keycloak, cookie", Some("0"), &[], false),
            (
                "Keycloak, reference values",
                Some("1"),
                &["pwd", "otp"],
                true,
            ),
            ("Google", None, &[], false),
            (
                "Auth0, MFA",
                Some("http://schemas.openid.net/pape/policies/2007/06/multi-factor"),
                &["mfa"],
                true,
            ),
        ] {
            let evidence = Evidence {
                acr,
                acrs: &[],
                amr,
            };
            assert_eq!(
                weigh(&issuer, evidence).multi_factor,
                expected,
                "{provider}"
            );
        }
    }

    #[test]
    fn out_of_band_counts_and_says_so_only_where_nothing_was_proved() {
        let issuer = config::Issuer {
            multi_factor_out_of_band: true,
            ..testing::issuer_config()
        };
        let weigh_amr = |amr| {
            let evidence = Evidence {
                acr: None,
                acrs: &[],
                amr,
            };
            let assurance = weigh(&issuer, evidence);
            (
                assurance.multi_factor,
                assurance.out_of_band,
                assurance.phishing_resistant,
            )
        };
        assert_eq!(weigh_amr(&[]), (true, true, false));
        assert_eq!(weigh_amr(&["pwd", "otp"]), (true, false, false));
    }

    fn requirements() -> Requirements {
        Requirements {
            multi_factor: false,
            phishing_resistant: false,
            max_authentication_age: None,
            acr_values: vec!["gold".into(), "2".into()],
            certificate_bound: false,
            posture: Vec::new(),
            issuers: Vec::new(),
        }
    }

    fn proved(multi_factor: bool, resistant: bool, at: Option<i64>, bound: bool) -> Authentication {
        Authentication::new(
            multi_factor,
            resistant,
            None,
            [] as [&str; 0],
            at.map(Timestamp::from_seconds),
            bound,
        )
    }

    #[test]
    fn each_requirement_has_its_shortfall() {
        let now = Timestamp::from_seconds(10_000);
        let all = Requirements {
            multi_factor: true,
            phishing_resistant: true,
            max_authentication_age: Some(Duration::from_secs(300)),
            certificate_bound: true,
            issuers: vec!["corp".into()],
            ..requirements()
        };
        let check =
            |authentication: &Authentication, issuer| meets(&all, authentication, issuer, now);
        let best = proved(true, true, Some(9_700), true);
        assert_eq!(check(&best, "corp"), Ok(()));
        assert_eq!(
            check(&best, "partner"),
            Err(AssuranceShortfall::Issuer("partner".into()))
        );
        assert_eq!(
            check(&proved(true, true, Some(9_700), false), "corp"),
            Err(AssuranceShortfall::NotBound)
        );
        assert_eq!(
            check(&proved(true, false, Some(9_700), true), "corp"),
            Err(AssuranceShortfall::PhishingResistant)
        );
        assert_eq!(
            check(&proved(false, true, Some(9_700), true), "corp"),
            Err(AssuranceShortfall::MultiFactor)
        );
        let age = Err(AssuranceShortfall::Age(Duration::from_secs(300)));
        assert_eq!(check(&proved(true, true, Some(9_699), true), "corp"), age);
        assert_eq!(check(&proved(true, true, None, true), "corp"), age);
    }

    #[test]
    fn no_requirements_are_met_by_anything() {
        let nothing = proved(false, false, None, false);
        assert_eq!(
            meets(&requirements(), &nothing, "any", Timestamp::from_seconds(0)),
            Ok(())
        );
    }

    #[test]
    fn only_what_signing_in_again_can_mend_is_challenged() {
        let fresh = Requirements {
            max_authentication_age: Some(Duration::from_secs(300)),
            ..requirements()
        };
        let denial = AssuranceShortfall::Age(Duration::from_secs(300)).into_denial(&fresh);
        assert_eq!(denial.reason, DenialReason::AssuranceInsufficient);
        assert_eq!(
            denial.challenge,
            Some(AssuranceChallenge {
                acr_values: vec!["gold".into(), "2".into()],
                max_age: Some(300)
            })
        );
        let denial = AssuranceShortfall::NotBound.into_denial(&fresh);
        assert_eq!(denial.reason, DenialReason::CredentialNotBound);
        assert_eq!(denial.challenge, None);
        let denial = AssuranceShortfall::Issuer("x".into()).into_denial(&fresh);
        assert_eq!(denial.reason, DenialReason::CredentialInvalid);
    }
}
