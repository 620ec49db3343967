//! The languages pages are written in.

/// See [`crate::Caller::language`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    Japanese,
}

impl Language {
    /// For `lang` attributes.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }

    /// The language of a BCP 47 tag, by its first part.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let first = tag.split('-').next().unwrap_or_default();
        [Self::English, Self::Japanese]
            .into_iter()
            .find(|language| first.eq_ignore_ascii_case(language.tag()))
    }
}
