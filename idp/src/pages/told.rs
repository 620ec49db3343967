//! What people are told when something did not work, or did: the words of [`Notice`] and [`Trouble`] in both languages.
//! Each `match` names every case, so that a new one stops the build until somebody has found words for it.

use crate::Language;
use crate::factors::PasswordWeakness;

use super::notice::Notice;

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// An authorization request that is not the client's, not valid, or over.
    Malformed,
    /// The ceremony is over, or of another browser.
    Over,
    /// The form was sent before.
    Stale,
    /// The form was not sent by a page of ours.
    Foreign,
    /// No device is known.
    NoDevice,
    NothingHere,
    /// The account is gone or disabled.
    NoAccount,
}

/// A heading and what to do.
pub(crate) fn of_trouble(trouble: Trouble, language: Language) -> (&'static str, &'static str) {
    match (trouble, language) {
        (Trouble::Malformed, Language::English) => (
            "This sign-in cannot go on",
            "It took too long, was opened a second time, or did not begin here. Go back to the application and begin again.",
        ),
        (Trouble::Malformed, Language::Japanese) => (
            "サインインを続けられません",
            "時間切れになったか、同じリンクが 2 回開かれたか、別の場所から開かれました。アプリケーションに戻り、最初からやり直してください。",
        ),
        (Trouble::Over, Language::English) => (
            "This page is over",
            "It took too long, or was opened in another browser. Begin again from the start page. If you had a first sign-in link, open it again.",
        ),
        (Trouble::Over, Language::Japanese) => (
            "このページは期限切れです",
            "時間切れになったか、別のブラウザーで開かれました。最初のページからやり直してください。初回サインイン用リンクの場合は、リンクをもう一度開いてください。",
        ),
        (Trouble::Stale, Language::English) => (
            "This page was used already",
            "Each page can be sent once. What you sent now was not taken. Go on from here.",
        ),
        (Trouble::Stale, Language::Japanese) => (
            "このページは送信済みです",
            "各ページは 1 回だけ送信できます。今回の送信は受け付けられませんでした。続きから再開してください。",
        ),
        (Trouble::Foreign, Language::English) => (
            "This did not come from our page",
            "For your safety it was not taken. Open the page anew and try again.",
        ),
        (Trouble::Foreign, Language::Japanese) => (
            "このサイトのページからの送信ではありません",
            "安全のため、受け付けませんでした。ページを開き直して、もう一度お試しください。",
        ),
        (Trouble::NoDevice, Language::English) => (
            "This device did not identify itself",
            "Only enrolled devices can sign in. Use your enrolled device. If this is it, restart the browser and choose the certificate when asked.",
        ),
        (Trouble::NoDevice, Language::Japanese) => (
            "この端末を確認できません",
            "登録済みの端末からのみサインインできます。登録済みの端末をお使いください。この端末が登録済みの場合は、ブラウザーを再起動し、表示される画面で証明書を選んでください。",
        ),
        (Trouble::NothingHere, Language::English) => (
            "There is nothing here",
            "Check the address for typing errors, or go to the start page.",
        ),
        (Trouble::NothingHere, Language::Japanese) => (
            "ページが見つかりません",
            "アドレスに誤りがないか確認するか、最初のページへ移動してください。",
        ),
        (Trouble::NoAccount, Language::English) => (
            "This account cannot be changed",
            "It was disabled or removed. Ask your help desk.",
        ),
        (Trouble::NoAccount, Language::Japanese) => (
            "このアカウントは変更できません",
            "無効になっているか、削除されています。ヘルプデスクにお問い合わせください。",
        ),
    }
}

/// What is said at the top of a page.
pub(crate) fn of_notice(notice: Notice, language: Language, now: i64) -> String {
    match language {
        Language::English => english(notice, now),
        Language::Japanese => japanese(notice, now),
    }
}

fn english(notice: Notice, now: i64) -> String {
    let text = match notice {
        Notice::Wait { until } => {
            let wait = match wait(until, now) {
                (1, Unit::Seconds) => "1 second".to_owned(),
                (count, Unit::Seconds) => format!("{count} seconds"),
                (1, Unit::Minutes) => "1 minute".to_owned(),
                (count, Unit::Minutes) => format!("{count} minutes"),
            };
            return format!(
                "Too many attempts failed. Wait {wait}, then try again with care. If it was not you, tell your help desk."
            );
        }
        Notice::Weak(PasswordWeakness::TooShort { least }) => {
            return format!("This password is too short: at least {least} characters are needed.");
        }
        Notice::NotProved => "That is not right. Check what you entered and try again.",
        Notice::Exhausted => {
            "This failed too often and does not count any more. Use another way, or ask your help desk for a new first sign-in link."
        }
        Notice::Disabled => {
            "This account is disabled. If that is a mistake, ask your administrator."
        }
        Notice::NeedsSecondFactor => {
            "This password is too short to count alone. Use your passkey, or ask your help desk for a new first sign-in link."
        }
        Notice::Expired => "That took too long. Begin again.",
        Notice::PasswordsOff => "Passwords are not used here. Use your passkey.",
        Notice::Unavailable => "This is not possible at the moment. Try again in a minute.",
        Notice::LinkVoid => {
            "This link does not count: it was used, replaced by a newer one, or is too old. Ask your help desk for a new one."
        }
        Notice::UsePasskey => "This application needs more than that. Sign in with your passkey.",
        Notice::UseCode => {
            "This application needs more than that. Sign in with your passkey, or with password and code."
        }
        Notice::OtherPerson => "The application asks for somebody else. Sign in with that account.",
        Notice::TookTooLong => "That took too long. Try again.",
        Notice::NotVerified => "The passkey could not be verified. Try again, or use another one.",
        Notice::KnownPasskey => "This passkey is known already.",
        Notice::TooMany => "There are too many passkeys. Remove one that you do not use.",
        Notice::BadName => "A name has at most 64 characters.",
        Notice::UnknownFactor => "It is not there any more.",
        Notice::LastWayIn => "Nothing would be left to sign in with. Add another way first.",
        Notice::WrongCode => {
            "The code is not right. Wait for the next one and type it in. If that does not help, check the time on your phone."
        }
        Notice::NeedsPassword => "A code app works beside a password. Set a password first.",
        Notice::PasswordNeedsCode => {
            "Your password is short and counts only with the code app. Change the password first."
        }
        Notice::Weak(PasswordWeakness::TooLong) => {
            "This password is too long: 256 characters are the most."
        }
        Notice::Weak(PasswordWeakness::Breached) => {
            "This password is known to attackers from a breach elsewhere. Choose another one."
        }
        Notice::Weak(PasswordWeakness::Common) => {
            "This password is easy to guess. Choose several words that do not belong together."
        }
        Notice::Weak(PasswordWeakness::Personal) => {
            "This password is made of names that everybody knows. Choose another one."
        }
        Notice::NoRight => "This cannot be changed any more. Begin again.",
        Notice::PasskeyAdded => "The passkey was added.",
        Notice::PasskeyRenamed => "The passkey was renamed.",
        Notice::PasskeyRemoved => "The passkey was removed. Delete it on your device too.",
        Notice::PasswordChanged => "The password was changed.",
        Notice::PasswordRemoved => "The password was removed.",
        Notice::CodeAppAdded => "The code app is set up.",
        Notice::CodeAppRemoved => "The code app was removed.",
    };
    text.to_owned()
}

fn japanese(notice: Notice, now: i64) -> String {
    let text = match notice {
        Notice::Wait { until } => {
            let wait = match wait(until, now) {
                (count, Unit::Seconds) => format!("{count} 秒"),
                (count, Unit::Minutes) => format!("{count} 分"),
            };
            return format!(
                "失敗が続いたため、一時的に停止しています。{wait}待ってから、落ち着いてもう一度お試しください。心当たりがない場合は、ヘルプデスクに連絡してください。"
            );
        }
        Notice::Weak(PasswordWeakness::TooShort { least }) => {
            return format!("パスワードが短すぎます。{least} 文字以上にしてください。");
        }
        Notice::NotProved => "正しくありません。入力内容を確認して、もう一度お試しください。",
        Notice::Exhausted => {
            "失敗が多すぎるため、この方法は使えなくなりました。別の方法を使うか、ヘルプデスクに新しい初回サインイン用リンクを依頼してください。"
        }
        Notice::Disabled => {
            "このアカウントは無効になっています。お心当たりがない場合は、管理者にお問い合わせください。"
        }
        Notice::NeedsSecondFactor => {
            "このパスワードは短いため、単独では使えません。パスキーを使うか、ヘルプデスクに新しい初回サインイン用リンクを依頼してください。"
        }
        Notice::Expired => "時間切れになりました。最初からやり直してください。",
        Notice::PasswordsOff => "ここではパスワードは使えません。パスキーをお使いください。",
        Notice::Unavailable => {
            "現在ご利用いただけません。1 分ほど待ってから、もう一度お試しください。"
        }
        Notice::LinkVoid => {
            "このリンクは使えません。使用済みか、新しいリンクに置き換えられたか、期限切れです。ヘルプデスクに新しいリンクを依頼してください。"
        }
        Notice::UsePasskey => {
            "このアプリケーションには、より強い認証が必要です。パスキーでサインインしてください。"
        }
        Notice::UseCode => {
            "このアプリケーションには、より強い認証が必要です。パスキー、またはパスワードと確認コードでサインインしてください。"
        }
        Notice::OtherPerson => {
            "別のアカウントが求められています。そのアカウントでサインインしてください。"
        }
        Notice::TookTooLong => "時間切れになりました。もう一度お試しください。",
        Notice::NotVerified => {
            "パスキーを確認できませんでした。もう一度試すか、別のパスキーをお使いください。"
        }
        Notice::KnownPasskey => "このパスキーはすでに登録されています。",
        Notice::TooMany => "パスキーが多すぎます。使っていないものを削除してください。",
        Notice::BadName => "名前は 64 文字以内にしてください。",
        Notice::UnknownFactor => "すでに存在しません。",
        Notice::LastWayIn => {
            "サインインの方法がなくなってしまいます。先に別の方法を追加してください。"
        }
        Notice::WrongCode => {
            "コードが正しくありません。次のコードが表示されるのを待って入力してください。それでも失敗する場合は、スマートフォンの時刻を確認してください。"
        }
        Notice::NeedsPassword => {
            "認証アプリはパスワードと一緒に使います。先にパスワードを設定してください。"
        }
        Notice::PasswordNeedsCode => {
            "パスワードが短いため、認証アプリが必要です。先にパスワードを変更してください。"
        }
        Notice::Weak(PasswordWeakness::TooLong) => {
            "パスワードが長すぎます。256 文字以内にしてください。"
        }
        Notice::Weak(PasswordWeakness::Breached) => {
            "このパスワードは、過去の漏えいで攻撃者に知られています。別のものにしてください。"
        }
        Notice::Weak(PasswordWeakness::Common) => {
            "このパスワードは推測されやすいものです。関係のない単語をいくつか並べてください。"
        }
        Notice::Weak(PasswordWeakness::Personal) => {
            "誰でも知っている名前を使ったパスワードです。別のものにしてください。"
        }
        Notice::NoRight => "この変更はできなくなりました。最初からやり直してください。",
        Notice::PasskeyAdded => "パスキーを追加しました。",
        Notice::PasskeyRenamed => "パスキーの名前を変更しました。",
        Notice::PasskeyRemoved => "パスキーを削除しました。端末からも削除してください。",
        Notice::PasswordChanged => "パスワードを変更しました。",
        Notice::PasswordRemoved => "パスワードを削除しました。",
        Notice::CodeAppAdded => "認証アプリを設定しました。",
        Notice::CodeAppRemoved => "認証アプリを削除しました。",
    };
    text.to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Minutes,
}

/// How long it is until then, rounded up: nobody is told to come back too early.
fn wait(until: i64, now: i64) -> (i64, Unit) {
    let left = until.saturating_sub(now).max(1);
    let up = |unit: i64| left.saturating_add(unit - 1) / unit;
    match up(1000) {
        seconds if seconds < 90 => (seconds, Unit::Seconds),
        _ => (up(60_000), Unit::Minutes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_rounded_up() {
        for (left, told) in [
            (-5, (1, Unit::Seconds)),
            (1, (1, Unit::Seconds)),
            (1001, (2, Unit::Seconds)),
            (89_000, (89, Unit::Seconds)),
            (90_000, (2, Unit::Minutes)),
            (14 * 60_000 + 1, (15, Unit::Minutes)),
        ] {
            assert_eq!(wait(left, 0), told, "{left}");
        }
    }
}
