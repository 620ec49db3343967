//! Why a sign-in at a provider came to nothing: a closed list, with a code for the record and words for the person.
//!
//! What a provider or a stranger wrote (error codes, descriptions) never reaches a page; the few words that go into the
//! record are reduced to harmless characters first.

use crate::issuer::{Cleaned, CredentialError};
use crate::respond::Language;

/// Why nobody was signed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The provider cannot be reached, or answers nonsense.
    #[error("provider `{provider}`: {detail}")]
    Unavailable {
        provider: Box<str>,
        detail: Box<str>,
    },
    /// The provider's published metadata do not let anybody sign in.
    #[error("provider `{provider}`: {detail}")]
    Metadata {
        provider: Box<str>,
        detail: Box<str>,
    },
    /// The answer is not one that a provider sends: parameters missing, repeated, or not readable.
    #[error("the provider's answer is malformed: {0}")]
    Malformed(&'static str),
    /// `state` is not this browser's: forged, or of another tab that was overtaken.
    #[error("the answer belongs to another sign-in (`state`)")]
    OtherAttempt,
    /// RFC 9207: the answer is another provider's, or does not say whose it is.
    #[error("the answer came from another provider (`iss`)")]
    MixedUp,
    /// More than ten minutes passed.
    #[error("the sign-in took too long")]
    TimedOut,
    /// The person, or the provider's administrator, said no (`access_denied`).
    #[error("the provider says `access_denied`")]
    Denied,
    /// The provider wants to talk to the person first (`login_required` and its like).
    #[error("the provider says `{0}`")]
    InteractionRequired(Cleaned),
    /// Stronger or fresher authentication was asked for, and was not given.
    #[error("{0}")]
    Unmet(Unmet),
    /// Another error of the authorization endpoint.
    #[error("the provider says `{0}`")]
    Refused(Cleaned),
    /// The token endpoint refuses the code: used already, too old, or not ours.
    #[error("the token endpoint refuses the code: `{0}`")]
    CodeRefused(Cleaned),
    /// The token endpoint does not accept how we prove ourselves: a matter for the administrator.
    #[error("the token endpoint refuses this client: `{0}`")]
    ClientRefused(Cleaned),
    /// The ID Token is not believed.
    #[error("ID Token: {0}")]
    Token(CredentialError),
    /// UserInfo, or a refreshed ID Token, is about somebody else.
    #[error("{0} is about another subject than the ID Token")]
    OtherSubject(&'static str),
    /// A claim that the configuration demands is missing or has another value.
    #[error("claim `{0}` is not what the configuration demands")]
    NotAdmitted(Box<str>),
    /// The provider left the groups out, and they could not be had otherwise.
    #[error("the provider left the groups out: {0}")]
    GroupsLeftOut(Box<str>),
}

/// What was asked for and not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unmet {
    /// The provider itself says so (`unmet_authentication_requirements`).
    #[error("the provider cannot authenticate as asked (`unmet_authentication_requirements`)")]
    Stated,
    #[error("multi-factor authentication was asked for and not given")]
    MultiFactor,
    #[error("phishing-resistant authentication was asked for and not given")]
    PhishingResistant,
    #[error("none of the context classes that were asked for was given (`acr`)")]
    Context,
    #[error("recent authentication was asked for, and the provider does not show it (`auth_time`)")]
    Fresh,
}

/// A heading and a text, for the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    pub title: &'static str,
    pub text: &'static str,
}

impl SignInError {
    /// The word in the record.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "provider-unavailable",
            Self::Metadata { .. } => "provider-metadata",
            Self::Malformed(_) => "answer-malformed",
            Self::OtherAttempt => "answer-of-another-attempt",
            Self::MixedUp => "answer-of-another-provider",
            Self::TimedOut => "sign-in-timed-out",
            Self::Denied => "denied-by-provider",
            Self::InteractionRequired(_) => "interaction-required",
            Self::Unmet(_) => "assurance-unmet",
            Self::Refused(_) => "refused-by-provider",
            Self::CodeRefused(_) => "code-refused",
            Self::ClientRefused(_) => "client-refused",
            Self::Token(_) => "id-token-invalid",
            Self::OtherSubject(_) => "subject-mismatch",
            Self::NotAdmitted(_) => "not-admitted",
            Self::GroupsLeftOut(_) => "groups-left-out",
        }
    }

    /// Somebody tampered, or something is badly wrong: worth an alert, not only a line.
    pub fn is_suspicious(&self) -> bool {
        match self {
            Self::MixedUp | Self::OtherSubject(_) => true,
            Self::Token(error) => match error {
                CredentialError::Invalid(_) => true,
                CredentialError::Malformed(_)
                | CredentialError::Expired(_)
                | CredentialError::NotBound(_)
                | CredentialError::IssuerUnavailable { .. } => false,
            },
            Self::Unavailable { .. }
            | Self::Metadata { .. }
            | Self::Malformed(_)
            | Self::OtherAttempt
            | Self::TimedOut
            | Self::Denied
            | Self::InteractionRequired(_)
            | Self::Unmet(_)
            | Self::Refused(_)
            | Self::CodeRefused(_)
            | Self::ClientRefused(_)
            | Self::NotAdmitted(_)
            | Self::GroupsLeftOut(_) => false,
        }
    }

    /// Whether beginning anew may help without anybody changing anything.
    pub fn may_try_again(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Malformed(_)
            | Self::OtherAttempt
            | Self::TimedOut
            | Self::Denied
            | Self::InteractionRequired(_)
            | Self::Unmet(_)
            | Self::Refused(_)
            | Self::CodeRefused(_)
            | Self::Token(_) => true,
            Self::Metadata { .. }
            | Self::MixedUp
            | Self::ClientRefused(_)
            | Self::OtherSubject(_)
            | Self::NotAdmitted(_)
            | Self::GroupsLeftOut(_) => false,
        }
    }

    /// What the person reads.
    pub fn words(&self, language: Language) -> Words {
        let (japanese, english) = self.both();
        match language {
            Language::Japanese => japanese,
            Language::English => english,
        }
    }

    fn both(&self) -> (Words, Words) {
        let words = |title, text| Words { title, text };
        match self {
            Self::Unavailable { .. } => (
                words(
                    "サインイン先に接続できません",
                    "サインインに使うサービスが応答しません。数分待ってから、もう一度お試しください。",
                ),
                words(
                    "The sign-in service does not answer",
                    "The service you sign in with cannot be reached. Wait a few minutes and try again.",
                ),
            ),
            Self::Metadata { .. } | Self::ClientRefused(_) => (
                words(
                    "サインインの設定に問題があります",
                    "このゲートウェイとサインイン先の設定が合っていません。ヘルプデスクに、この画面の番号をお知らせください。",
                ),
                words(
                    "Sign-in is not set up correctly",
                    "This gateway and the service you sign in with do not agree. Tell the help desk the number on this page.",
                ),
            ),
            Self::Malformed(_) | Self::OtherAttempt | Self::CodeRefused(_) => (
                words(
                    "このサインインは続けられません",
                    "別のタブでサインインしたか、このページを開き直した可能性があります。もう一度サインインしてください。",
                ),
                words(
                    "This sign-in cannot go on",
                    "You may have signed in in another tab, or opened this page again. Please sign in once more.",
                ),
            ),
            Self::TimedOut => (
                words(
                    "時間切れです",
                    "サインインに 10 分以上かかりました。もう一度サインインしてください。",
                ),
                words(
                    "That took too long",
                    "More than ten minutes went by. Please sign in once more.",
                ),
            ),
            Self::Denied => (
                words(
                    "サインインが取り消されました",
                    "サインイン先で取り消されたか、利用が許可されていません。心当たりがなければ、ヘルプデスクにご連絡ください。",
                ),
                words(
                    "The sign-in was cancelled",
                    "It was cancelled at the sign-in service, or you are not permitted to use this. If you did not cancel it, contact the help desk.",
                ),
            ),
            Self::InteractionRequired(_) => (
                words(
                    "サインイン先での操作が必要です",
                    "サインイン先が追加の操作を求めています。もう一度サインインし、表示される案内に従ってください。",
                ),
                words(
                    "The sign-in service needs something from you",
                    "Please sign in once more and follow what it shows you.",
                ),
            ),
            Self::Unmet(unmet) => unmet.both(),
            Self::MixedUp | Self::Token(_) | Self::OtherSubject(_) => (
                words(
                    "サインイン結果を確認できません",
                    "サインイン先からの応答を信頼できなかったため、サインインを中止しました。続く場合は、ヘルプデスクにこの画面の番号をお知らせください。",
                ),
                words(
                    "The answer of the sign-in service could not be verified",
                    "You were not signed in, because the answer cannot be trusted. If this happens again, tell the help desk the number on this page.",
                ),
            ),
            Self::Refused(_) => (
                words(
                    "サインイン先がエラーを返しました",
                    "もう一度お試しください。続く場合は、ヘルプデスクにこの画面の番号をお知らせください。",
                ),
                words(
                    "The sign-in service reports an error",
                    "Please try again. If this happens again, tell the help desk the number on this page.",
                ),
            ),
            Self::NotAdmitted(_) => (
                words(
                    "このアカウントは利用できません",
                    "会社のアカウントでサインインしてください。個人用や他社のアカウントは使えません。",
                ),
                words(
                    "This account cannot be used here",
                    "Sign in with your company account. Private accounts and those of other companies are not accepted.",
                ),
            ),
            Self::GroupsLeftOut(_) => (
                words(
                    "所属グループを確認できません",
                    "所属グループが多すぎるため、サインイン先がすべてを伝えませんでした。ヘルプデスクにご連絡ください。",
                ),
                words(
                    "Your groups could not be read",
                    "You are in more groups than the sign-in service tells us about. Contact the help desk.",
                ),
            ),
        }
    }
}

impl Unmet {
    fn both(self) -> (Words, Words) {
        let words = |title, text| Words { title, text };
        match self {
            Self::Stated | Self::Context | Self::MultiFactor => (
                words(
                    "より強い認証が必要です",
                    "このアプリには、二つ以上の方法による本人確認が必要ですが、行われませんでした。認証アプリやパスキーを登録してから、もう一度サインインしてください。",
                ),
                words(
                    "Stronger sign-in is needed",
                    "This app needs proof by more than one factor, and there was only one. Set up an authenticator or a passkey, then sign in again.",
                ),
            ),
            Self::PhishingResistant => (
                words(
                    "パスキーが必要です",
                    "このアプリには、パスキーやセキュリティキーによるサインインが必要です。登録してから、もう一度サインインしてください。",
                ),
                words(
                    "A passkey is needed",
                    "This app needs sign-in with a passkey or security key. Set one up, then sign in again.",
                ),
            ),
            Self::Fresh => (
                words(
                    "もう一度、本人確認が必要です",
                    "このアプリには、たった今の本人確認が必要です。もう一度サインインし、求められたらパスワードやパスキーを使ってください。",
                ),
                words(
                    "Please prove once more who you are",
                    "This app needs proof from just now. Sign in again, and use your password or passkey when asked.",
                ),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::TokenFault;

    #[test]
    fn what_others_wrote_is_in_no_page_and_harmless_in_the_record() {
        let written = "<b>\n`x`";
        for error in [
            SignInError::Refused(Cleaned::new(written)),
            SignInError::CodeRefused(Cleaned::new(written)),
            SignInError::ClientRefused(Cleaned::new(written)),
            SignInError::InteractionRequired(Cleaned::new(written)),
        ] {
            assert!(!error.to_string().contains('\n'));
            for language in [Language::Japanese, Language::English] {
                let words = error.words(language);
                assert!(!words.title.contains("<b>") && !words.text.contains("<b>"));
            }
        }
    }

    #[test]
    fn only_tampering_is_suspicious() {
        let forged = SignInError::Token(CredentialError::Invalid(TokenFault::Signature));
        assert!(forged.is_suspicious() && SignInError::MixedUp.is_suspicious());
        for harmless in [
            SignInError::Denied,
            SignInError::TimedOut,
            SignInError::Unmet(Unmet::Fresh),
        ] {
            assert!(!harmless.is_suspicious() && harmless.may_try_again());
        }
    }
}
