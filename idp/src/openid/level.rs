//! How well somebody proved who they are: three levels, their names as authentication contexts (`acr`), and how method
//! references (`amr`, RFC 8176) lead to them.

/// From weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// A password, and nothing else.
    Password,
    /// Two factors, of which a deceptive site could still get hold.
    MultiFactor,
    /// A key that answers only to this site, unlocked by the person (OpenID EAP ACR 1.0).
    PhishingResistant,
}

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Password, Self::MultiFactor, Self::PhishingResistant];

    /// As `acr` names it.
    pub(crate) fn acr(self) -> &'static str {
        match self {
            Self::Password => "pwd",
            Self::MultiFactor => "mfa",
            Self::PhishingResistant => "phr",
        }
    }

    pub(crate) fn of_acr(acr: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.acr() == acr)
    }

    /// The least of those that `names` lists: whoever reaches it has met the request. Unknown names count as nothing.
    pub(crate) fn least<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().filter_map(Self::of_acr).min()
    }

    /// What these methods amount to, as this provider gives them out. A passkey is only a passkey with the person's
    /// verification, which is why `mfa` must stand beside it.
    pub(crate) fn of_methods<T: AsRef<str>>(amr: &[T]) -> Self {
        let has = |method: &str| amr.iter().any(|it| it.as_ref() == method);
        match (has("mfa"), has("hwk") || has("swk") || has("pop")) {
            (true, true) => Self::PhishingResistant,
            (true, false) => Self::MultiFactor,
            (false, _) => Self::Password,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_amount_to_levels() {
        for (amr, level) in [
            (&["hwk", "user", "mfa", "pop"][..], Level::PhishingResistant),
            (&["pwd", "otp", "mfa"], Level::MultiFactor),
            (&["pwd"], Level::Password),
            (&["hwk", "user"], Level::Password),
            (&["pwd", "MFA"], Level::Password),
            (&[], Level::Password),
        ] {
            assert_eq!(Level::of_methods(amr), level, "{amr:?}");
        }
    }

    #[test]
    fn the_least_of_the_known_names_is_enough() {
        assert_eq!(Level::least(["phr", "mfa"]), Some(Level::MultiFactor));
        assert_eq!(
            Level::least(["gold", "phr"]),
            Some(Level::PhishingResistant)
        );
        assert_eq!(Level::least(["gold", "PHR", ""]), None);
    }
}
