//! The words on our pages, in both languages, for somebody without a manual: no blame, no jargon, one thing to do next. A
//! word that is missing in one language does not compile.

use crate::Language;
use crate::factors::PasswordWeakness;

use super::notice::Notice;

/// What stands on pages.
pub(crate) struct Words {
    pub(crate) sign_in: &'static str,
    pub(crate) passkey_lead: &'static str,
    pub(crate) passkey_button: &'static str,
    pub(crate) passkey_waiting: &'static str,
    pub(crate) passkey_cancelled: &'static str,
    pub(crate) passkey_unsupported: &'static str,
    pub(crate) passkey_exists: &'static str,
    pub(crate) passkey_no_script: &'static str,
    pub(crate) unreachable: &'static str,
    pub(crate) or_password: &'static str,
    pub(crate) password_only_phr: &'static str,
    pub(crate) name: &'static str,
    pub(crate) password: &'static str,
    pub(crate) password_button: &'static str,
    pub(crate) lost_passkey: &'static str,
    pub(crate) code_title: &'static str,
    pub(crate) code_lead: &'static str,
    pub(crate) code: &'static str,
    pub(crate) go_ahead: &'static str,
    pub(crate) use_recovery: &'static str,
    pub(crate) use_code: &'static str,
    pub(crate) start_over: &'static str,
    pub(crate) recovery_title: &'static str,
    pub(crate) recovery_lead_code: &'static str,
    pub(crate) recovery_lead_name: &'static str,
    pub(crate) recovery_code: &'static str,
    pub(crate) recovery_none: &'static str,
    pub(crate) back_to_sign_in: &'static str,
    pub(crate) unmet_title: &'static str,
    pub(crate) unmet_what: &'static str,
    pub(crate) unmet_remedy: &'static str,
    pub(crate) unmet_factors: &'static str,
    pub(crate) unmet_back: &'static str,
    pub(crate) welcome_title: &'static str,
    pub(crate) link_lead: &'static str,
    pub(crate) link_no_script: &'static str,
    pub(crate) link_token: &'static str,
    pub(crate) welcome_lead: &'static str,
    pub(crate) your_name: &'static str,
    pub(crate) make_passkey: &'static str,
    pub(crate) passkey_name: &'static str,
    pub(crate) passkey_name_help: &'static str,
    pub(crate) password_instead: &'static str,
    pub(crate) password_rules: &'static str,
    pub(crate) password_rules_alone: &'static str,
    pub(crate) new_password: &'static str,
    pub(crate) with_code_app: &'static str,
    pub(crate) code_app_lead: &'static str,
    pub(crate) code_app_qr: &'static str,
    pub(crate) code_app_key: &'static str,
    pub(crate) code_app_open: &'static str,
    pub(crate) set_password: &'static str,
    pub(crate) codes_title: &'static str,
    pub(crate) codes_lead: &'static str,
    pub(crate) codes_list: &'static str,
    pub(crate) copy: &'static str,
    pub(crate) copied: &'static str,
    pub(crate) not_copied: &'static str,
    pub(crate) print: &'static str,
    pub(crate) codes_kept: &'static str,
    pub(crate) ready_title: &'static str,
    pub(crate) ready_lead: &'static str,
    pub(crate) ready_button: &'static str,
    pub(crate) done_title: &'static str,
    pub(crate) done_lead: &'static str,
    pub(crate) done_link: &'static str,
    pub(crate) factors_title: &'static str,
    pub(crate) factors_lead: &'static str,
    pub(crate) passkeys: &'static str,
    pub(crate) passkeys_none: &'static str,
    pub(crate) added: &'static str,
    pub(crate) last_used: &'static str,
    pub(crate) never_used: &'static str,
    pub(crate) synced: &'static str,
    pub(crate) this_only: &'static str,
    pub(crate) rename: &'static str,
    pub(crate) new_name: &'static str,
    pub(crate) save: &'static str,
    pub(crate) remove: &'static str,
    pub(crate) add_passkey: &'static str,
    pub(crate) password_have: &'static str,
    pub(crate) password_have_not: &'static str,
    pub(crate) password_change: &'static str,
    pub(crate) password_add: &'static str,
    pub(crate) password_remove: &'static str,
    pub(crate) code_app: &'static str,
    pub(crate) code_app_have: &'static str,
    pub(crate) code_app_have_not: &'static str,
    pub(crate) code_app_add: &'static str,
    pub(crate) code_app_replace: &'static str,
    pub(crate) code_app_remove: &'static str,
    pub(crate) recovery_codes: &'static str,
    pub(crate) recovery_left: &'static str,
    pub(crate) recovery_new: &'static str,
    pub(crate) recovery_new_help: &'static str,
    pub(crate) my_page: &'static str,
    pub(crate) stronger_title: &'static str,
    pub(crate) stronger_what: &'static str,
    pub(crate) stronger_passkey: &'static str,
    pub(crate) stronger_code: &'static str,
    pub(crate) stronger_lost: &'static str,
    pub(crate) go_on: &'static str,
    pub(crate) to_start: &'static str,
}

/// The words of `language`.
pub(crate) fn words(language: Language) -> &'static Words {
    match language {
        Language::English => &ENGLISH,
        Language::Japanese => &JAPANESE,
    }
}

const ENGLISH: Words = Words {
    sign_in: "Sign in",
    passkey_lead: "Use the passkey of this device, your phone or your security key. There is nothing to type.",
    passkey_button: "Sign in with a passkey",
    passkey_waiting: "Follow the instructions of your browser.",
    passkey_cancelled: "Nothing was done: it was cancelled or took too long. Press the button to try again.",
    passkey_unsupported: "This browser cannot use passkeys. Use another browser or another way.",
    passkey_exists: "This device already has a passkey for this account.",
    passkey_no_script: "Passkeys need JavaScript. Turn it on for this site, or use another way.",
    unreachable: "The server did not answer. Check your connection and try again.",
    or_password: "Or with a password",
    password_only_phr: "This application accepts only a passkey.",
    name: "User name",
    password: "Password",
    password_button: "Continue with the password",
    lost_passkey: "I lost my passkey and have a recovery code",
    code_title: "Enter the code",
    code_lead: "Open your code app and type the six digits that it shows for this account.",
    code: "Code",
    go_ahead: "Continue",
    use_recovery: "Use a recovery code instead",
    use_code: "Use the code app instead",
    start_over: "Start over",
    recovery_title: "Use a recovery code",
    recovery_lead_code: "Type one of the recovery codes that you kept. Each counts once.",
    recovery_lead_name: "If you have no password and lost all your passkeys, a recovery code lets you make a new one. With a password, sign in with it instead.",
    recovery_code: "Recovery code",
    recovery_none: "Without a recovery code, ask your help desk for a new first sign-in link.",
    back_to_sign_in: "Back to signing in",
    unmet_title: "This application needs more",
    unmet_what: "You are who you say, but this application accepts only a stronger way to sign in, which your account does not have yet.",
    unmet_remedy: "Add a passkey to your account, then open the application again.",
    unmet_factors: "Add a passkey",
    unmet_back: "Go back without it",
    welcome_title: "Welcome",
    link_lead: "The link that you received opens your account once. One moment…",
    link_no_script: "If nothing happens, copy the part of the link after # into this field.",
    link_token: "Part of the link after #",
    welcome_lead: "Choose how you will sign in from now on. A passkey is the safest way and the easiest one: this device asks for your fingerprint, face or PIN, and there is nothing to remember.",
    your_name: "Your user name",
    make_passkey: "Create a passkey",
    passkey_name: "Name of the passkey (optional)",
    passkey_name_help: "For example: work laptop",
    password_instead: "Use a password instead",
    password_rules: "At least 15 characters; several words that do not belong together are good. Or at least 8 with a code app.",
    password_rules_alone: "At least 15 characters, or at least 8 while you have a code app. Several words that do not belong together are good.",
    new_password: "New password",
    with_code_app: "Add a code app (needed for a short password)",
    code_app_lead: "Scan this picture with a code app on your phone, then type the six digits that it shows.",
    code_app_qr: "Picture to scan with a code app",
    code_app_key: "Or type this key into the app",
    code_app_open: "Open the code app on this device",
    set_password: "Set the password",
    codes_title: "Keep these recovery codes",
    codes_lead: "They help when your device is lost or broken. Each counts once, and they are not shown again. Print them or write them down, and keep them away from your device.",
    codes_list: "Recovery codes",
    copy: "Copy",
    copied: "Copied.",
    not_copied: "Copying did not work. Write the codes down.",
    print: "Print",
    codes_kept: "I have kept them",
    ready_title: "You are ready",
    ready_lead: "From now on, sign in the way you just chose.",
    ready_button: "Sign in now",
    done_title: "You are signed in",
    done_lead: "You are taken back now. If nothing happens, follow the link.",
    done_link: "Go on",
    factors_title: "How you sign in",
    factors_lead: "Changes count at once and end your sessions in other browsers.",
    passkeys: "Passkeys",
    passkeys_none: "You have no passkey yet. It is the safest way to sign in.",
    added: "added",
    last_used: "last used",
    never_used: "not used yet",
    synced: "Also on your other devices",
    this_only: "On one device only",
    rename: "Rename",
    new_name: "New name",
    save: "Save",
    remove: "Remove",
    add_passkey: "Add a passkey",
    password_have: "You have a password.",
    password_have_not: "You have no password. With a passkey you need none.",
    password_change: "Change the password",
    password_add: "Set a password",
    password_remove: "Remove the password",
    code_app: "Code app",
    code_app_have: "A code app is asked for after your password.",
    code_app_have_not: "No code app is set up. It makes your password safer.",
    code_app_add: "Set up a code app",
    code_app_replace: "Set up another code app",
    code_app_remove: "Remove the code app",
    recovery_codes: "Recovery codes",
    recovery_left: "Codes that you have not used yet:",
    recovery_new: "Make new codes",
    recovery_new_help: "The codes that you have now become void.",
    my_page: "My page",
    stronger_title: "Confirm that it is you",
    stronger_what: "To change how you sign in, use the strongest way that your account has.",
    stronger_passkey: "Sign in with your passkey",
    stronger_code: "Sign in with password and code",
    stronger_lost: "If you do not have it any more, ask your help desk for a new first sign-in link.",
    go_on: "Go on from here",
    to_start: "Go to the start page",
};

const JAPANESE: Words = Words {
    sign_in: "サインイン",
    passkey_lead: "この端末、スマートフォン、またはセキュリティキーのパスキーを使います。何も入力する必要はありません。",
    passkey_button: "パスキーでサインイン",
    passkey_waiting: "ブラウザーの案内に従ってください。",
    passkey_cancelled: "取り消されたか、時間切れになりました。もう一度ボタンを押してください。",
    passkey_unsupported: "このブラウザーではパスキーを使えません。別のブラウザーか、別の方法をお使いください。",
    passkey_exists: "この端末には、このアカウントのパスキーがすでにあります。",
    passkey_no_script: "パスキーには JavaScript が必要です。このサイトで有効にするか、別の方法をお使いください。",
    unreachable: "サーバーから応答がありません。接続を確認して、もう一度お試しください。",
    or_password: "パスワードを使う場合",
    password_only_phr: "このアプリケーションではパスキーだけが使えます。",
    name: "ユーザー名",
    password: "パスワード",
    password_button: "パスワードで続ける",
    lost_passkey: "パスキーを失くしたので、回復コードを使う",
    code_title: "確認コードの入力",
    code_lead: "認証アプリを開き、このアカウントに表示されている 6 桁の数字を入力してください。",
    code: "確認コード",
    go_ahead: "続ける",
    use_recovery: "代わりに回復コードを使う",
    use_code: "代わりに認証アプリを使う",
    start_over: "最初からやり直す",
    recovery_title: "回復コードの使用",
    recovery_lead_code: "保管している回復コードを 1 つ入力してください。各コードは 1 回だけ使えます。",
    recovery_lead_name: "パスワードがなく、パスキーをすべて失くした場合は、回復コードで新しいパスキーを作成できます。パスワードがある場合は、パスワードでサインインしてください。",
    recovery_code: "回復コード",
    recovery_none: "回復コードもない場合は、ヘルプデスクに新しい初回サインイン用リンクを依頼してください。",
    back_to_sign_in: "サインインに戻る",
    unmet_title: "より強い認証が必要です",
    unmet_what: "ご本人の確認はできましたが、このアプリケーションにはより強いサインイン方法が必要です。このアカウントには、まだ設定されていません。",
    unmet_remedy: "アカウントにパスキーを追加してから、もう一度アプリケーションを開いてください。",
    unmet_factors: "パスキーを追加する",
    unmet_back: "追加せずに戻る",
    welcome_title: "ようこそ",
    link_lead: "届いたリンクは、アカウントの初期設定に 1 回だけ使えます。少々お待ちください…",
    link_no_script: "何も起こらない場合は、リンクの # より後ろの部分をこの欄に貼り付けてください。",
    link_token: "リンクの # より後ろ",
    welcome_lead: "これからのサインイン方法を選んでください。最も安全で簡単なのはパスキーです。指紋、顔、または PIN で本人確認するので、覚えるものはありません。",
    your_name: "あなたのユーザー名",
    make_passkey: "パスキーを作成",
    passkey_name: "パスキーの名前（任意）",
    passkey_name_help: "例：仕事用ノートパソコン",
    password_instead: "代わりにパスワードを使う",
    password_rules: "15 文字以上にしてください。関係のない単語をいくつか並べるのがおすすめです。認証アプリと併用する場合は 8 文字以上で設定できます。",
    password_rules_alone: "15 文字以上、認証アプリを設定済みなら 8 文字以上にしてください。関係のない単語をいくつか並べるのがおすすめです。",
    new_password: "新しいパスワード",
    with_code_app: "認証アプリを追加する（短いパスワードでは必須）",
    code_app_lead: "スマートフォンの認証アプリでこの画像を読み取り、表示された 6 桁の数字を入力してください。",
    code_app_qr: "認証アプリで読み取る画像",
    code_app_key: "またはこのキーをアプリに入力",
    code_app_open: "この端末の認証アプリを開く",
    set_password: "パスワードを設定",
    codes_title: "回復コードを保管してください",
    codes_lead: "端末を失くしたり、壊れたりしたときに使います。各コードは 1 回だけ使え、再び表示されることはありません。印刷するか書き写して、端末とは別の場所に保管してください。",
    codes_list: "回復コード一覧",
    copy: "コピー",
    copied: "コピーしました。",
    not_copied: "コピーできませんでした。書き写してください。",
    print: "印刷",
    codes_kept: "保管しました",
    ready_title: "設定が完了しました",
    ready_lead: "今後は、いま選んだ方法でサインインしてください。",
    ready_button: "サインインする",
    done_title: "サインインしました",
    done_lead: "元の画面に移動します。移動しない場合は、リンクを開いてください。",
    done_link: "次へ",
    factors_title: "サインイン方法の管理",
    factors_lead: "変更はすぐに有効になり、他のブラウザーのセッションは終了します。",
    passkeys: "パスキー",
    passkeys_none: "パスキーはまだありません。最も安全なサインイン方法です。",
    added: "追加日",
    last_used: "最終使用日",
    never_used: "未使用",
    synced: "他の端末と同期",
    this_only: "1 台の端末のみ",
    rename: "名前を変更",
    new_name: "新しい名前",
    save: "保存",
    remove: "削除",
    add_passkey: "パスキーを追加",
    password_have: "パスワードは設定されています。",
    password_have_not: "パスワードはありません。パスキーがあれば不要です。",
    password_change: "パスワードを変更",
    password_add: "パスワードを設定",
    password_remove: "パスワードを削除",
    code_app: "認証アプリ",
    code_app_have: "パスワードの後に、認証アプリのコードを確認します。",
    code_app_have_not: "認証アプリは設定されていません。設定するとパスワードがより安全になります。",
    code_app_add: "認証アプリを設定",
    code_app_replace: "別の認証アプリに変更",
    code_app_remove: "認証アプリを削除",
    recovery_codes: "回復コード",
    recovery_left: "未使用のコード：",
    recovery_new: "新しいコードを作成",
    recovery_new_help: "いまお持ちのコードは無効になります。",
    my_page: "マイページ",
    stronger_title: "本人確認が必要です",
    stronger_what: "サインイン方法を変更するには、アカウントに設定されている最も強い方法で本人確認をしてください。",
    stronger_passkey: "パスキーでサインイン",
    stronger_code: "パスワードと確認コードでサインイン",
    stronger_lost: "使えなくなった場合は、ヘルプデスクに新しい初回サインイン用リンクを依頼してください。",
    go_on: "続きから再開",
    to_start: "最初のページへ",
};

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
