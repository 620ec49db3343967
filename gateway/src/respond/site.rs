//! The words for refusals at the egress, where they differ: there is no application, but a site or a cloud service.

use super::negotiate::Language;
use super::text::{self, Words, words};
use crate::denial::DenialReason;

/// `None` where the words for applications fit as well.
pub(super) fn of_denial(reason: DenialReason, language: Language) -> Option<Words> {
    let words = match language {
        Language::English => &ENGLISH,
        Language::Japanese => &JAPANESE,
    };
    let found = words.iter().find(|(of, _)| *of == reason);
    found.map(|(_, words)| *words)
}

/// A site that was permitted and did not answer.
pub(super) fn of_failure(status: http::StatusCode, code: &str, language: Language) -> Words {
    match (text::felt(status, code), language) {
        (408, _) => text::of_failure(status, code, language),
        (503, Language::English) => words(
            "The site cannot be reached",
            "Its use is permitted, but there is no such site, or it cannot be connected to at the moment.",
            "Check the address. If it is right, wait a few minutes and try again.",
        ),
        (503, Language::Japanese) => words(
            "サイトに接続できません",
            "利用は許可されていますが、サイトが存在しないか、現在接続できません。",
            "アドレスを確認してください。正しい場合は、数分待ってから、もう一度お試しください。",
        ),
        (504, Language::English) => words(
            "The site takes too long",
            "Its use is permitted, but the site did not answer in time.",
            "Try again. If you were sending something, check first whether it arrived.",
        ),
        (504, Language::Japanese) => words(
            "サイトの応答がありません",
            "利用は許可されていますが、サイトから時間内に応答がありませんでした。",
            "もう一度お試しください。送信の途中だった場合は、先に結果を確認してください。",
        ),
        (_, Language::English) => words(
            "The site did not answer properly",
            "Its use is permitted, but the site broke off or gave an answer that makes no sense.",
            "Try again. If you were sending something, check first whether it arrived.",
        ),
        (_, Language::Japanese) => words(
            "サイトから正しい応答がありません",
            "利用は許可されていますが、サイトの応答が途切れたか、正しくありませんでした。",
            "もう一度お試しください。送信の途中だった場合は、先に結果を確認してください。",
        ),
    }
}

const ENGLISH: [(DenialReason, Words); 11] = [
    (
        DenialReason::RequestMalformed,
        words(
            "The request was not valid",
            "This is a proxy: it takes CONNECT requests and addresses that begin with \"http:\", and this was neither, or broke the rules of HTTP.",
            "Set the program to use this address as its HTTPS proxy, and check the address that it asks for.",
        ),
    ),
    (
        DenialReason::CredentialMissing,
        words(
            "Who you are is not known",
            "This device is registered in nobody's name, and no sign-in was sent with the request.",
            "Use the device that is registered in your name, or give the program a token or a proxy password.",
        ),
    ),
    (
        DenialReason::CredentialMalformed,
        words(
            "The sign-in could not be read",
            "The request carries more than one sign-in, or one of an unknown kind.",
            "Programs must send exactly one Bearer token or one proxy password.",
        ),
    ),
    (
        DenialReason::CredentialInvalid,
        words(
            "The sign-in is not valid",
            "The token or proxy password that was sent does not count here or has been altered.",
            "Sign in again, or make a new proxy password.",
        ),
    ),
    (
        DenialReason::CredentialExpired,
        words(
            "Your sign-in has expired",
            "The token or proxy password is too old, or the clock of this device is wrong.",
            "Sign in again, or make a new proxy password.",
        ),
    ),
    (
        DenialReason::AssuranceInsufficient,
        words(
            "A stronger sign-in is needed",
            "This site asks for more proof of who you are than you have given, or for a more recent one.",
            "Sign in again, with your second factor or passkey.",
        ),
    ),
    (
        DenialReason::PostureMissing,
        words(
            "Too little is known about this device",
            "Access to the Internet needs a security check of the device that has never been reported.",
            "Make sure that the management software runs and is connected, then try again in a few minutes.",
        ),
    ),
    (
        DenialReason::PostureStale,
        words(
            "The last check of this device is too old",
            "Access to the Internet needs a recent security check, and the last one was too long ago.",
            "Let the management software report, then try again in a few minutes.",
        ),
    ),
    (
        DenialReason::PostureFailing,
        words(
            "This device does not meet a security requirement",
            "A security setting that is required for access to the Internet is not in order.",
            "Once it is corrected, wait for the next report of the device, then try again.",
        ),
    ),
    (
        DenialReason::NoPermit,
        words(
            "This site is not open",
            "No rule opens this site or service to you on this device.",
            "If you need it for your work, ask the IT department to approve it.",
        ),
    ),
    (
        DenialReason::Forbidden,
        words(
            "This site is not allowed",
            "A company rule forbids this site or service as things stand now.",
            "If you think that is wrong, give your help desk the code and the request number.",
        ),
    ),
];

const JAPANESE: [(DenialReason, Words); 11] = [
    (
        DenialReason::RequestMalformed,
        words(
            "リクエストの形式が正しくありません",
            "ここはプロキシです。CONNECT または 「http:」で始まるアドレスだけを受け付けますが、そのどちらでもないか、HTTP の規則に合わない内容でした。",
            "このアドレスを HTTPS プロキシとして設定し、接続先のアドレスを確認してください。",
        ),
    ),
    (
        DenialReason::CredentialMissing,
        words(
            "利用者を確認できません",
            "この端末には利用者が登録されておらず、リクエストにもサインインの情報がありませんでした。",
            "ご自分の名前で登録された端末を使うか、ソフトウェアにトークンまたはプロキシ用パスワードを設定してください。",
        ),
    ),
    (
        DenialReason::CredentialMalformed,
        words(
            "サインインの情報を読み取れません",
            "サインインの情報が複数あるか、対応していない種類のものです。",
            "Bearer トークンまたはプロキシ用パスワードを、どれか一つだけ送るように設定してください。",
        ),
    ),
    (
        DenialReason::CredentialInvalid,
        words(
            "サインインの情報が正しくありません",
            "送られたトークンまたはプロキシ用パスワードは、ここでは使えないか、書き換えられています。",
            "もう一度サインインするか、プロキシ用パスワードを作り直してください。",
        ),
    ),
    (
        DenialReason::CredentialExpired,
        words(
            "サインインの有効期限が切れています",
            "トークンまたはプロキシ用パスワードの期限が切れているか、この端末の時計がずれています。",
            "もう一度サインインするか、プロキシ用パスワードを作り直してください。",
        ),
    ),
    (
        DenialReason::AssuranceInsufficient,
        words(
            "より強いサインインが必要です",
            "このサイトの利用には、より確かな、またはより新しい本人確認が必要です。",
            "多要素認証またはパスキーで、もう一度サインインしてください。",
        ),
    ),
    (
        DenialReason::PostureMissing,
        words(
            "この端末の状態が分かりません",
            "インターネットの利用に必要な端末の検査結果が、一度も報告されていません。",
            "端末管理ソフトが動作し、接続されていることを確認して、数分後にもう一度お試しください。",
        ),
    ),
    (
        DenialReason::PostureStale,
        words(
            "端末の検査結果が古すぎます",
            "インターネットの利用には最近の検査結果が必要ですが、前回の報告から時間が経ちすぎています。",
            "端末管理ソフトからの報告を待ち、数分後にもう一度お試しください。",
        ),
    ),
    (
        DenialReason::PostureFailing,
        words(
            "端末がセキュリティの条件を満たしていません",
            "インターネットの利用に必要なセキュリティ設定が、正しい状態になっていません。",
            "設定を直したあと、端末からの次の報告を待って、もう一度お試しください。",
        ),
    ),
    (
        DenialReason::NoPermit,
        words(
            "このサイトは許可されていません",
            "この端末からこのサイトやサービスを利用することを許可する規則がありません。",
            "業務に必要な場合は、情報システム部門に承認を依頼してください。",
        ),
    ),
    (
        DenialReason::Forbidden,
        words(
            "このサイトは利用できません",
            "会社の規則により、現在このサイトやサービスの利用は禁止されています。",
            "誤りだと思われる場合は、コードとリクエスト番号をヘルプデスクにお伝えください。",
        ),
    ),
];
