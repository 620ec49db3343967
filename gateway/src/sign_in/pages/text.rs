//! The words of these pages in both languages, side by side so that neither is forgotten.

use masugata_policy::{DeviceKind, Level, Ownership};

use crate::respond::Language;
use crate::sign_in::fault::OwnFault;
use crate::sign_in::my_device::FactState;

/// English and Japanese.
#[derive(Clone, Copy, Debug)]
pub(super) struct Both(pub(super) &'static str, pub(super) &'static str);

impl Both {
    pub(super) fn of(self, language: Language) -> &'static str {
        match language {
            Language::English => self.0,
            Language::Japanese => self.1,
        }
    }
}

macro_rules! words {
    ($($name:ident: $english:literal, $japanese:literal;)*) => {
        $(pub(super) const $name: Both = Both($english, $japanese);)*
        #[cfg(test)]
        pub(super) const ALL: &[(&str, Both)] = &[$((stringify!($name), $name)),*];
    };
}

words! {
    REQUEST: "Request number", "リクエスト番号";
    CODE: "Code", "コード";
    REMEDY: "What you can do", "対処方法";
    QUOTE_NUMBERS:
        "If you ask for help, please give the code and the request number.",
        "お問い合わせの際は、コードとリクエスト番号をお伝えください。";
    TO_MY_PAGE: "My page", "マイページ";
    TRY_AGAIN: "Sign in again", "もう一度サインインする";

    CHOOSE_TITLE: "Sign in", "サインイン";
    CHOOSE_FOR: "To open:", "開くアプリケーション：";
    CHOOSE_EMAIL: "Your work e-mail address", "会社のメールアドレス";
    CHOOSE_EMAIL_HELP:
        "It shows us where your account is. You enter your password only there.",
        "サインイン先を確認するために使います。パスワードはサインイン先でのみ入力します。";
    CHOOSE_NEXT: "Continue", "次へ";
    CHOOSE_LIST: "Or choose where to sign in", "サインイン先を選ぶ";
    CHOOSE_LIST_ONLY:
        "Choose where you have your account.",
        "お使いのアカウントのサインイン先を選んでください。";
    CHOOSE_NO_ADDRESS:
        "This is not an e-mail address. It looks like name@example.com.",
        "メールアドレスの形式ではありません。name@example.com のように入力してください。";
    CHOOSE_UNKNOWN:
        "No sign-in is known for this address. Check it, or choose from the list.",
        "このメールアドレスのサインイン先が見つかりません。入力を確認するか、一覧から選んでください。";
    CHOOSE_UNKNOWN_ONLY:
        "No sign-in is known for this address. Check it, or ask the help desk.",
        "このメールアドレスのサインイン先が見つかりません。入力を確認するか、ヘルプデスクにお問い合わせください。";

    OUT_TITLE: "You are signed out", "サインアウトしました";
    OUT_TEXT:
        "All applications behind this gateway are closed on this device.",
        "この端末では、このゲートウェイを通るアプリケーションからすべてサインアウトしました。";
    OUT_NOT_TOLD_TITLE: "One more step on a shared device", "共用の端末をお使いの場合";
    OUT_NOT_TOLD:
        "We could not sign you out at the service you signed in with. Whoever uses this browser next may still be signed in there as you. Sign out there too, or close all windows of the browser.",
        "サインイン先のサービスからはサインアウトできませんでした。次にこのブラウザーを使う人が、あなたとしてサインインしたままになるおそれがあります。サインイン先でもサインアウトするか、ブラウザーのウィンドウをすべて閉じてください。";
    OUT_AT: "Signed in with", "サインイン先";
    OUT_NEXT:
        "You are now being signed out at the service you signed in with.",
        "続けて、サインイン先のサービスからもサインアウトします。";
    OUT_GO: "Go on, if nothing happens", "進まない場合はこちら";

    MINE_TITLE: "My page", "マイページ";
    MINE_SIGNED_IN_AS: "Signed in as:", "サインイン中：";
    MINE_FOOTER: "Times are those of the company's time zone.", "時刻は会社のタイムゾーンで表示しています。";
    SIGN_OUT: "Sign out", "サインアウト";
    MINE_SECTIONS: "On this page", "このページの内容";

    APPS: "My applications", "利用できるアプリケーション";
    APPS_NONE:
        "No application is open to you on this device. If you need one for your work, ask the help desk.",
        "この端末で利用できるアプリケーションはありません。業務に必要な場合は、ヘルプデスクにお問い合わせください。";
    APPS_STRONGER:
        "Asks you to prove once more who you are",
        "開くときに、もう一度本人確認があります";
    APPS_PATTERN: "Open it by its own address", "アプリケーションのアドレスから開いてください";
    APPS_CLOSED: "Not available at the moment", "いまは利用できないアプリケーション";
    APPS_CLOSED_BADGE: "Closed", "利用不可";
    APPS_SEE_DEVICE: "See what to put right on this device", "この端末で直すところを見る";

    DEVICE: "This device", "お使いの端末";
    DEVICE_NAME: "Name", "名前";
    DEVICE_KIND: "Kind", "種類";
    DEVICE_NUMBER: "Inventory number", "管理番号";
    DEVICE_SEEN: "Last report", "最後の報告";
    DEVICE_NEVER: "None yet", "まだありません";
    DEVICE_GOOD:
        "Nothing on this device keeps an application closed.",
        "端末の状態を理由に利用できないアプリケーションはありません。";
    DEVICE_BAD:
        "Something on this device keeps applications closed. After you have put it right, they open with the device's next report.",
        "端末の状態のために、利用できないアプリケーションがあります。直した後、端末から次の報告が届くと利用できるようになります。";
    DEVICE_FOR: "Needed for:", "必要とするアプリケーション：";
    DEVICE_FACTS: "Everything that is known of this device", "この端末について把握している内容";
    DEVICE_REPORTED: "reported", "報告";
    DEVICE_REPORT:
        "Connect to the Internet and let the management software report. If nothing changes after a few minutes, ask the help desk.",
        "インターネットに接続し、端末管理ソフトの報告を待ってください。数分たっても変わらない場合は、ヘルプデスクにご連絡ください。";

    SESSIONS: "Where you are signed in", "サインイン中の端末";
    SESSIONS_HELP:
        "If you do not know one of these, end it and tell the help desk at once.",
        "心当たりのないものがあれば、終了して、すぐにヘルプデスクにご連絡ください。";
    SESSION_THIS: "This one", "この画面";
    SESSION_SINCE: "Since", "開始";
    SESSION_USED: "Last used", "最終利用";
    SESSION_END: "End", "終了する";
    SESSION_END_OF: "End the sign-in on:", "サインインを終了する端末：";
    SESSIONS_END_OTHERS: "End all others", "ほかをすべて終了する";
    SESSION_ENDED: "That sign-in was ended.", "サインインを終了しました。";
    SESSIONS_ENDED: "All other sign-ins were ended.", "ほかのサインインをすべて終了しました。";
    SESSION_GONE: "That sign-in had already ended.", "そのサインインは、すでに終了しています。";
    SESSION_FORM_OLD:
        "The page was open for too long, so nothing was changed. Please try again.",
        "ページを開いてから時間が経ちすぎたため、何も変更していません。もう一度お試しください。";

    FACTORS: "How you sign in", "サインインの方法";
    FACTORS_PASSKEYS: "Passkeys", "パスキー";
    FACTORS_NO_PASSKEY: "None yet", "まだありません";
    FACTORS_PASSWORD: "Password", "パスワード";
    FACTORS_CODES: "Authenticator app", "認証アプリ";
    FACTORS_RECOVERY: "Recovery codes left", "残りの回復コード";
    FACTORS_SET: "Set", "設定済み";
    FACTORS_UNSET: "Not set", "未設定";
    FACTORS_ADVISE_FIRST:
        "Add a passkey: signing in becomes quicker, and nobody can trick you out of it.",
        "パスキーを追加すると、サインインが早くなり、だまし取られる心配もなくなります。";
    FACTORS_ADVISE_SECOND:
        "Add a second passkey on another device, so that you can still sign in when this one is lost.",
        "端末をなくしたときのために、別の端末にも二つ目のパスキーを追加してください。";
    FACTORS_CHANGE: "Manage passkeys and passwords", "パスキーやパスワードを管理する";
    FACTORS_ELSEWHERE:
        "Your account is kept elsewhere. Change your password or passkeys there:",
        "アカウントは次のサービスで管理されています。パスワードやパスキーの変更は、そちらで行ってください：";

    KEPT_TITLE: "Sign in, then send again", "サインインしてから送信してください";
    KEPT_TEXT:
        "Your sign-in had ended, so what you were sending has not reached the application. Nothing you typed is lost.",
        "サインインの有効期限が切れたため、送信はまだアプリケーションに届いていません。入力した内容は失われていません。";
    KEPT_APP: "Application:", "アプリケーション：";
    KEPT_FIRST: "Sign in in a new tab.", "新しいタブでサインインします。";
    KEPT_SECOND: "Come back to this tab and send again.", "このタブに戻り、もう一度送信します。";
    KEPT_RELOAD:
        "Come back to this tab, reload the page, and confirm that it is to be sent again.",
        "このタブに戻ってページを再読み込みし、確認が表示されたら再送信を選びます。";
    KEPT_SIGN_IN: "Sign in (opens a new tab)", "サインインする（新しいタブが開きます）";
    KEPT_SEND: "Send again", "もう一度送信する";
    KEPT_READY:
        "You are signed in. You can send now.",
        "サインインしました。送信できます。";
    KEPT_READY_RELOAD:
        "You are signed in. Reload this page now.",
        "サインインしました。このページを再読み込みしてください。";
    KEPT_DO_NOT_CLOSE:
        "Keep this tab open: what you typed is kept only here.",
        "このタブを閉じないでください。入力した内容は、ここにだけ残っています。";

    THERE_TITLE: "You are signed in", "サインインしました";
    THERE_TEXT:
        "You can close this tab and go on in the one you came from.",
        "このタブを閉じて、元のタブに戻ってください。";
    THERE_OPEN: "Open the application here", "このタブでアプリケーションを開く";
}

pub(super) fn level(level: Level) -> Both {
    match level {
        Level::Public => Both("Public", "公開情報"),
        Level::Internal => Both("Internal", "業務情報"),
        Level::Confidential => Both("Confidential", "機密情報"),
    }
}

pub(super) fn kind(kind: DeviceKind) -> Both {
    match kind {
        DeviceKind::Laptop => Both("Laptop", "ノートパソコン"),
        DeviceKind::Desktop => Both("Desktop computer", "デスクトップパソコン"),
        DeviceKind::Phone => Both("Phone", "スマートフォン"),
        DeviceKind::Tablet => Both("Tablet", "タブレット"),
        DeviceKind::Server => Both("Server", "サーバー"),
        DeviceKind::Other => Both("Other device", "その他の端末"),
    }
}

pub(super) fn ownership(ownership: Ownership) -> Both {
    match ownership {
        Ownership::Company => Both("belongs to the company", "会社所有"),
        Ownership::Personal => Both("your own", "個人所有"),
    }
}

pub(super) fn fact(state: FactState) -> Both {
    match state {
        FactState::Good => Both("In order", "良好"),
        FactState::Off => Both("Not in order", "要対応"),
        FactState::Stale => Both("Too old", "報告が古い"),
        FactState::Missing => Both("Not reported", "報告なし"),
    }
}

/// Title, and what to do.
pub(super) fn own_fault(fault: OwnFault) -> (Both, Both) {
    match fault {
        OwnFault::TargetUnknown => (
            Both("This link leads nowhere", "このリンクの行き先がありません"),
            Both(
                "It does not lead to an application of this company. Open the application from My page, or type its address yourself.",
                "この会社のアプリケーションへのリンクではありません。マイページから開くか、アドレスを直接入力してください。",
            ),
        ),
        OwnFault::AttemptUnknown => (
            Both(
                "This sign-in cannot go on",
                "このサインインは続けられません",
            ),
            Both(
                "It took too long, was finished in another tab, or began in another browser. Please sign in once more.",
                "時間がかかりすぎたか、別のタブで完了したか、別のブラウザーで始められています。もう一度サインインしてください。",
            ),
        ),
        OwnFault::HandOverRefused => (
            Both(
                "The application did not let you in yet",
                "アプリケーションを開けませんでした",
            ),
            Both(
                "The link to it counts once, for a minute, in this browser only. Please open the application once more.",
                "開くためのリンクは、このブラウザーで一分以内に一度だけ有効です。アプリケーションをもう一度開いてください。",
            ),
        ),
        OwnFault::NotEnough => (
            Both(
                "A stronger sign-in is needed",
                "より確実な本人確認が必要です",
            ),
            Both(
                "You signed in, but not as strongly as this application needs. Set up a passkey or a second factor where your account is, then open the application again.",
                "サインインは完了しましたが、このアプリケーションに必要な確認には足りません。お使いのアカウントにパスキーまたは二つ目の要素を設定してから、もう一度開いてください。",
            ),
        ),
        OwnFault::ProviderUnknown => (
            Both(
                "You cannot sign in this way",
                "この方法ではサインインできません",
            ),
            Both(
                "This application does not accept the account you chose. Go back and choose another, or ask the help desk which one to use.",
                "選んだアカウントは、このアプリケーションでは使えません。前のページに戻って別のアカウントを選ぶか、ヘルプデスクにお問い合わせください。",
            ),
        ),
        OwnFault::FormForeign => (
            Both("Nothing was done", "操作は行われませんでした"),
            Both(
                "The request did not come from our own page. If you did not click on a link in a message or on another site, tell the help desk.",
                "この操作は、当ページ以外から送信されました。メールやほかのサイトのリンクを開いた覚えがない場合は、ヘルプデスクにご連絡ください。",
            ),
        ),
        OwnFault::FormExpired => (
            Both(
                "The page was open for too long",
                "ページを開いてから時間が経ちすぎました",
            ),
            Both(
                "Nothing was changed. Open the page again and repeat what you did.",
                "何も変更されていません。ページを開き直して、もう一度操作してください。",
            ),
        ),
        OwnFault::FormMalformed => (
            Both(
                "What was sent could not be read",
                "送信された内容を読み取れませんでした",
            ),
            Both(
                "Nothing was changed. Go back, reload the page and try again.",
                "何も変更されていません。前のページに戻って再読み込みし、もう一度お試しください。",
            ),
        ),
        OwnFault::StoreUnavailable => (
            Both(
                "Sign-in does not work at the moment",
                "現在サインインできません",
            ),
            Both(
                "Your sign-in could not be stored. Wait a few minutes and try again. If it goes on, tell the help desk.",
                "サインインの情報を保存できませんでした。数分待ってから、もう一度お試しください。続く場合は、ヘルプデスクにご連絡ください。",
            ),
        ),
        OwnFault::SignedOut => (
            Both(
                "You are not signed in any more",
                "サインインの状態ではありません",
            ),
            Both(
                "Your session has ended, or was ended by you or by the company. Please sign in once more.",
                "サインインの有効期限が切れたか、ご自身または会社により終了されました。もう一度サインインしてください。",
            ),
        ),
        OwnFault::AccountDisabled => (
            Both("Your account is disabled", "このアカウントは無効です"),
            Both(
                "You proved who you are, but your company has disabled the account. If you think that this is a mistake, contact the help desk.",
                "本人確認はできましたが、アカウントが会社により無効にされています。心当たりがない場合は、ヘルプデスクにご連絡ください。",
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_said_in_both_languages() {
        for (name, Both(english, japanese)) in ALL {
            assert!(!english.is_empty() && english.is_ascii(), "{name}");
            assert!(!japanese.is_ascii(), "{name}");
            // A sentence ends in both or in neither.
            let ends = |text: &str| text.ends_with(['.', '。', ':', '：']);
            let short = japanese.chars().count() < 12;
            assert!(short || ends(english) == ends(japanese), "{name}");
        }
    }
}
