//! The words people read when something did not work: what happened, and what they can do. Each `match` names every
//! case, so that a new reason stops the build until someone has found words for it.
//!
//! Written for a teleworker without a manual: no blame, no jargon, one thing to do next.

use masugata_policy::{PostureAttribute, PostureFault};

use super::negotiate::Language;
use crate::denial::DenialReason;

/// What is said about one refusal or failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// A heading.
    pub(super) title: &'static str,
    /// One sentence: what happened.
    pub(super) what: &'static str,
    /// One or two sentences: what to do.
    pub(super) remedy: &'static str,
}

pub(super) const fn words(title: &'static str, what: &'static str, remedy: &'static str) -> Words {
    Words {
        title,
        what,
        remedy,
    }
}

pub(super) fn of_denial(reason: DenialReason, language: Language) -> Words {
    match language {
        Language::English => english(reason),
        Language::Japanese => japanese(reason),
    }
}

fn english(reason: DenialReason) -> Words {
    match reason {
        DenialReason::RequestMalformed => words(
            "The request was not valid",
            "What was sent does not follow the rules of HTTP, so it was not passed on.",
            "Reload the page. If it happens again, tell your administrator which program sent the request.",
        ),
        DenialReason::RequestAmbiguous => words(
            "The address can be understood in two ways",
            "The address or a header of this request could mean different things to different servers.",
            "Check the address for double slashes, double dots, semicolons, backslashes and encoded slashes, or go to the application's start page.",
        ),
        DenialReason::HeaderTooLarge => words(
            "The request is too large",
            "The browser sent more header data than is accepted, usually because of many cookies.",
            "Delete the cookies of this site and try again.",
        ),
        DenialReason::MethodNotAllowed => words(
            "This kind of request is not supported",
            "The method of this request is never passed on.",
            "Go back and use the application's own links and buttons.",
        ),
        DenialReason::Misdirected => words(
            "The connection belongs to another site",
            "This request came over a connection that was opened for a different host name.",
            "Reload the page, so that your browser opens a new connection.",
        ),
        DenialReason::RouteNotFound => words(
            "There is nothing here",
            "No application is served at this address.",
            "Check the address for typing errors, or start from your bookmarks or portal.",
        ),
        DenialReason::LoopDetected => words(
            "The request goes round in circles",
            "This request has already passed through this gateway once.",
            "There is nothing you can do yourself. Tell your administrator the request number.",
        ),
        DenialReason::DeviceCertificateMissing => words(
            "This device did not identify itself",
            "Only enrolled devices get access, and no device certificate was presented.",
            "Use your enrolled device. If this is it, restart the browser and choose the certificate when asked.",
        ),
        DenialReason::DeviceCertificateExpired => words(
            "The device certificate has expired",
            "The certificate of this device is no longer valid.",
            "Renew the certificate, or ask your help desk to renew it for you.",
        ),
        DenialReason::DeviceCertificateRevoked => words(
            "The device certificate was withdrawn",
            "The certificate of this device has been revoked or cannot be checked at the moment.",
            "Contact your help desk. They can tell you why and enrol the device again.",
        ),
        DenialReason::DeviceUnknown => words(
            "This device is not registered",
            "The certificate is genuine, but the device is not in the company's inventory.",
            "Ask your help desk to register this device, or use one that is registered.",
        ),
        DenialReason::DeviceAmbiguous => words(
            "This device is registered more than once",
            "The company's inventory has several entries for this device, so it cannot be told which one counts.",
            "Ask your help desk to correct the inventory.",
        ),
        DenialReason::DeviceSuspended => words(
            "This device is suspended",
            "The company's inventory says that this device is lost, retired or suspended.",
            "If you have the device in your hands, tell your help desk; they can release it again.",
        ),
        DenialReason::CredentialMissing => words(
            "You are not signed in",
            "This application needs to know who you are, and no sign-in was sent with the request.",
            "Sign in and try again.",
        ),
        DenialReason::CredentialMalformed => words(
            "The sign-in could not be read",
            "The request carries more than one sign-in, or one of an unknown kind.",
            "Sign out, sign in again and retry. Programs must send exactly one Bearer token.",
        ),
        DenialReason::CredentialInvalid => words(
            "The sign-in is not valid",
            "The sign-in that was sent was not issued for this application or has been altered.",
            "Sign in again.",
        ),
        DenialReason::CredentialExpired => words(
            "Your sign-in has expired",
            "Too much time has passed since you signed in, or the clock of this device is wrong.",
            "Sign in again. If that does not help, check the date and time of this device.",
        ),
        DenialReason::CredentialNotBound => words(
            "The sign-in belongs to another device",
            "Your sign-in is tied to a device, and it is not this one.",
            "Sign in again on the device you are using now.",
        ),
        DenialReason::IssuerUnavailable => words(
            "Sign-ins cannot be checked at the moment",
            "The service that confirms sign-ins cannot be reached.",
            "Wait a few minutes and try again.",
        ),
        DenialReason::AccountDisabled => words(
            "This account is disabled",
            "Your organisation has disabled this account, so nothing is open to it any more.",
            "If that is a mistake, ask your administrator to enable the account.",
        ),
        DenialReason::LockedOut => words(
            "Too many failed attempts",
            "After several failed sign-ins, further ones are refused for a while.",
            "Wait, then sign in with care. If it was not you, tell your help desk at once.",
        ),
        DenialReason::AssuranceInsufficient => words(
            "A stronger sign-in is needed",
            "This application asks for more proof of who you are than you have given, or for a more recent one.",
            "Sign in again, with your second factor or passkey.",
        ),
        DenialReason::PostureMissing => words(
            "Too little is known about this device",
            "This application needs a security check of the device that has never been reported.",
            "Make sure that the management software runs and is connected, then try again in a few minutes.",
        ),
        DenialReason::PostureStale => words(
            "The last check of this device is too old",
            "This application needs a recent security check, and the last one was too long ago.",
            "Connect to the Internet, let the management software report, then try again in a few minutes.",
        ),
        DenialReason::PostureFailing => words(
            "This device does not meet a security requirement",
            "A security setting that this application requires is not in order.",
            "Once it is corrected, wait for the next report of the device, then try again.",
        ),
        DenialReason::NoPermit => words(
            "You do not have access",
            "No rule gives you access to this with this device.",
            "If you need it for your work, ask the person responsible for the application.",
        ),
        DenialReason::Forbidden => words(
            "Access is not allowed",
            "A company rule forbids this access as things stand now.",
            "If you think that is wrong, give your help desk the code and the request number.",
        ),
        DenialReason::PolicyError => words(
            "Access cannot be decided",
            "A company rule could not be evaluated, so access is refused to be safe.",
            "Tell your administrator the request number. The rule must be corrected.",
        ),
        DenialReason::QuotaExceeded => words(
            "Too many requests",
            "More requests came in a short time than are allowed.",
            "Wait a moment, then try again.",
        ),
        DenialReason::BodyTooLarge => words(
            "The upload is too large",
            "What you are sending is larger than this application accepts.",
            "Send a smaller file, or send it in parts.",
        ),
        DenialReason::UpgradeNotAllowed => words(
            "This kind of connection is not allowed",
            "The application asked for a permanent connection, which it is not configured to use.",
            "Tell your administrator if the application does not work without it.",
        ),
        DenialReason::AuditUnavailable => words(
            "Temporarily closed",
            "Access cannot be recorded at the moment, and without a record there is no access.",
            "Wait a few minutes and try again. If it lasts, tell your administrator.",
        ),
        DenialReason::Overloaded => words(
            "Being restarted",
            "The gateway is being stopped or restarted.",
            "Wait a moment, then try again.",
        ),
        DenialReason::Internal => words(
            "Something went wrong on our side",
            "An internal error occurred. Your request was not passed on.",
            "Try again. If it happens again, tell your administrator the request number.",
        ),
        DenialReason::DestinationPortRefused => words(
            "This port is not open",
            "Only the usual web ports can be used for this destination.",
            "Ask your administrator if this service needs another port.",
        ),
        DenialReason::DestinationProhibited => words(
            "This name leads into a private network",
            "The destination has an address that is not on the public Internet.",
            "Check the address. Internal systems have addresses of their own.",
        ),
        DenialReason::ReasonNeeded => words(
            "Say what you need it for",
            "This service is not approved for everyone, but can be opened for a while with a reason.",
            "Open the page of your refusals, write the reason, then try again.",
        ),
        DenialReason::ListsUnavailable => words(
            "Temporarily closed",
            "The lists of dangerous sites are not loaded yet, and without them there is no access.",
            "Wait a few minutes and try again. If it lasts, tell your administrator.",
        ),
        DenialReason::SniMismatch => words(
            "The program spoke to another site",
            "It asked for one site and began to speak with another.",
            "Update the program, and turn off encrypted ClientHello and \"secure DNS\" in it.",
        ),
        DenialReason::TunnelNotTls => words(
            "Only encrypted connections",
            "Only TLS may be spoken on this port, and the program spoke something else.",
            "Use the https address. If the program cannot, ask your administrator.",
        ),
    }
}

fn japanese(reason: DenialReason) -> Words {
    match reason {
        DenialReason::RequestMalformed => words(
            "リクエストの形式が正しくありません",
            "送信された内容が HTTP の規則に合わないため、アプリケーションに渡しませんでした。",
            "ページを再読み込みしてください。繰り返す場合は、どのソフトウェアから送信したかを管理者にお伝えください。",
        ),
        DenialReason::RequestAmbiguous => words(
            "アドレスの意味が一つに決まりません",
            "このアドレスまたはヘッダーは、サーバーによって異なる意味に解釈されるおそれがあります。",
            "アドレスに「//」「..」「;」「\\」や符号化されたスラッシュがないか確認するか、アプリケーションの最初のページから開いてください。",
        ),
        DenialReason::HeaderTooLarge => words(
            "リクエストが大きすぎます",
            "ブラウザーから送られたヘッダーが上限を超えました。多くの場合、Cookie が増えすぎたことが原因です。",
            "このサイトの Cookie を削除してから、もう一度お試しください。",
        ),
        DenialReason::MethodNotAllowed => words(
            "この種類のリクエストには対応していません",
            "このリクエストのメソッドは、アプリケーションに渡されません。",
            "前のページに戻り、アプリケーションのリンクやボタンから操作してください。",
        ),
        DenialReason::Misdirected => words(
            "別のサイトの接続が使われました",
            "このリクエストは、別のホスト名のために開かれた接続で送られました。",
            "ページを再読み込みしてください。ブラウザーが新しい接続を開きます。",
        ),
        DenialReason::RouteNotFound => words(
            "ページが見つかりません",
            "このアドレスで提供しているアプリケーションはありません。",
            "アドレスの入力間違いがないか確認するか、ブックマークや社内ポータルから開いてください。",
        ),
        DenialReason::LoopDetected => words(
            "リクエストが循環しています",
            "このリクエストは、すでに一度このゲートウェイを通過しています。",
            "ご自身の操作では解決できません。リクエスト番号を管理者にお伝えください。",
        ),
        DenialReason::DeviceCertificateMissing => words(
            "端末を確認できませんでした",
            "登録された端末だけが利用できますが、端末の証明書が提示されませんでした。",
            "登録済みの端末をお使いください。登録済みの場合は、ブラウザーを再起動し、確認画面で証明書を選んでください。",
        ),
        DenialReason::DeviceCertificateExpired => words(
            "端末の証明書の有効期限が切れています",
            "この端末の証明書は、現在有効ではありません。",
            "証明書を更新するか、ヘルプデスクに更新を依頼してください。",
        ),
        DenialReason::DeviceCertificateRevoked => words(
            "端末の証明書は失効しています",
            "この端末の証明書は取り消されているか、現在その有効性を確認できません。",
            "ヘルプデスクにお問い合わせください。理由の確認と再登録ができます。",
        ),
        DenialReason::DeviceUnknown => words(
            "この端末は登録されていません",
            "証明書は正しいものですが、この端末は会社の台帳にありません。",
            "ヘルプデスクに端末の登録を依頼するか、登録済みの端末をお使いください。",
        ),
        DenialReason::DeviceAmbiguous => words(
            "この端末は重複して登録されています",
            "会社の台帳にこの端末の登録が複数あり、どれが正しいか判断できません。",
            "ヘルプデスクに台帳の修正を依頼してください。",
        ),
        DenialReason::DeviceSuspended => words(
            "この端末は利用停止中です",
            "会社の台帳では、この端末は紛失、廃棄または利用停止とされています。",
            "端末がお手元にある場合は、ヘルプデスクにご連絡ください。利用停止を解除できます。",
        ),
        DenialReason::CredentialMissing => words(
            "サインインしていません",
            "このアプリケーションの利用には本人確認が必要ですが、サインインの情報が送られていません。",
            "サインインしてから、もう一度お試しください。",
        ),
        DenialReason::CredentialMalformed => words(
            "サインインの情報を読み取れません",
            "サインインの情報が複数あるか、対応していない種類のものが送られました。",
            "いったんサインアウトし、サインインし直してください。プログラムからは Bearer トークンを一つだけ送ってください。",
        ),
        DenialReason::CredentialInvalid => words(
            "サインインの情報が有効ではありません",
            "送られたサインインの情報は、このアプリケーションのために発行されたものではないか、改変されています。",
            "もう一度サインインしてください。",
        ),
        DenialReason::CredentialExpired => words(
            "サインインの有効期限が切れました",
            "サインインから時間が経ちすぎたか、端末の時計がずれています。",
            "もう一度サインインしてください。解決しない場合は、端末の日付と時刻を確認してください。",
        ),
        DenialReason::CredentialNotBound => words(
            "別の端末のサインインです",
            "サインインは端末に結び付けられており、この端末のものではありません。",
            "今お使いの端末で、もう一度サインインしてください。",
        ),
        DenialReason::IssuerUnavailable => words(
            "現在サインインを確認できません",
            "サインインを確認するサービスに接続できません。",
            "数分待ってから、もう一度お試しください。",
        ),
        DenialReason::AccountDisabled => words(
            "このアカウントは無効です",
            "このアカウントは組織によって無効にされたため、何も利用できません。",
            "心当たりがない場合は、管理者にアカウントの有効化を依頼してください。",
        ),
        DenialReason::LockedOut => words(
            "失敗が続いたため、一時的に制限しています",
            "サインインの失敗が続いたため、しばらくの間、新しい試みを受け付けません。",
            "しばらく待ってから、慎重にサインインしてください。心当たりがない場合は、すぐにヘルプデスクへご連絡ください。",
        ),
        DenialReason::AssuranceInsufficient => words(
            "より確実な本人確認が必要です",
            "このアプリケーションには、より強い、またはより新しい本人確認が必要です。",
            "二つ目の要素またはパスキーを使って、もう一度サインインしてください。",
        ),
        DenialReason::PostureMissing => words(
            "端末の状態が確認できていません",
            "このアプリケーションには端末のセキュリティ確認が必要ですが、まだ一度も報告されていません。",
            "端末管理ソフトが動作し、接続していることを確認して、数分後にもう一度お試しください。",
        ),
        DenialReason::PostureStale => words(
            "端末の状態の確認が古くなっています",
            "このアプリケーションには最近のセキュリティ確認が必要ですが、前回の報告から時間が経ちすぎています。",
            "インターネットに接続して端末管理ソフトの報告を待ち、数分後にもう一度お試しください。",
        ),
        DenialReason::PostureFailing => words(
            "端末がセキュリティの条件を満たしていません",
            "このアプリケーションに必要なセキュリティ設定が整っていません。",
            "設定を直したら、端末の次の報告を待ってから、もう一度お試しください。",
        ),
        DenialReason::NoPermit => words(
            "アクセス権がありません",
            "この端末でこの操作を許可する規則がありません。",
            "業務に必要な場合は、アプリケーションの責任者に申請してください。",
        ),
        DenialReason::Forbidden => words(
            "アクセスは許可されていません",
            "現在の状況では、会社の規則によりこのアクセスは禁止されています。",
            "誤りと思われる場合は、コードとリクエスト番号をヘルプデスクにお伝えください。",
        ),
        DenialReason::PolicyError => words(
            "アクセスの可否を判断できません",
            "会社の規則を評価できなかったため、安全のためにアクセスを拒否しました。",
            "リクエスト番号を管理者にお伝えください。規則の修正が必要です。",
        ),
        DenialReason::QuotaExceeded => words(
            "リクエストが多すぎます",
            "短い時間に、許可された数を超えるリクエストがありました。",
            "少し待ってから、もう一度お試しください。",
        ),
        DenialReason::BodyTooLarge => words(
            "送信するデータが大きすぎます",
            "送信された内容は、このアプリケーションが受け付ける大きさを超えています。",
            "ファイルを小さくするか、分けて送信してください。",
        ),
        DenialReason::UpgradeNotAllowed => words(
            "この種類の接続は許可されていません",
            "アプリケーションが常時接続を要求しましたが、そのように設定されていません。",
            "これがないとアプリケーションが動作しない場合は、管理者にお伝えください。",
        ),
        DenialReason::AuditUnavailable => words(
            "一時的に利用できません",
            "現在アクセスを記録できません。記録できない間は、アクセスを受け付けません。",
            "数分待ってから、もう一度お試しください。続く場合は、管理者にお伝えください。",
        ),
        DenialReason::Overloaded => words(
            "再起動しています",
            "ゲートウェイを停止または再起動しています。",
            "少し待ってから、もう一度お試しください。",
        ),
        DenialReason::Internal => words(
            "ゲートウェイで問題が発生しました",
            "内部エラーが発生しました。リクエストはアプリケーションに渡されていません。",
            "もう一度お試しください。繰り返す場合は、リクエスト番号を管理者にお伝えください。",
        ),
        DenialReason::DestinationPortRefused => words(
            "このポートは利用できません",
            "この接続先では、通常の Web のポートだけが利用できます。",
            "別のポートが必要な場合は、管理者に相談してください。",
        ),
        DenialReason::DestinationProhibited => words(
            "内部ネットワークの名前です",
            "接続先のアドレスが、公開されたインターネット上にありません。",
            "アドレスを確認してください。社内システムには社内用のアドレスがあります。",
        ),
        DenialReason::ReasonNeeded => words(
            "利用目的の入力が必要です",
            "このサービスは全員に許可されているものではありませんが、理由があれば一定時間利用できます。",
            "拒否の一覧ページで利用目的を入力してから、もう一度お試しください。",
        ),
        DenialReason::ListsUnavailable => words(
            "一時的に利用できません",
            "危険なサイトの一覧がまだ読み込まれていません。一覧がない間は、アクセスを受け付けません。",
            "数分待ってから、もう一度お試しください。続く場合は、管理者にお伝えください。",
        ),
        DenialReason::SniMismatch => words(
            "接続先と通信相手が一致しません",
            "要求された接続先と、実際に通信を始めた相手の名前が異なります。",
            "アプリを更新し、ECH と「セキュア DNS」を無効にしてください。",
        ),
        DenialReason::TunnelNotTls => words(
            "暗号化された通信だけが利用できます",
            "このポートでは TLS で暗号化された通信だけが利用できますが、別の通信が始まりました。",
            "https のアドレスを使ってください。使えない場合は、管理者に相談してください。",
        ),
    }
}

/// An application that does not answer as it should.
/// To a person, what could not be connected to is not there, whatever the status says.
pub(super) fn felt(status: http::StatusCode, code: &str) -> u16 {
    let never_reached = matches!(
        code,
        "upstream-unresolved" | "upstream-unreachable" | "upstream-certificate" | "upstream-tls"
    );
    if never_reached { 503 } else { status.as_u16() }
}

pub(super) fn of_failure(status: http::StatusCode, code: &str, language: Language) -> Words {
    match (felt(status, code), language) {
        (503, Language::English) => words(
            "The application is not available",
            "You have access, but the application cannot be reached at the moment.",
            "Wait a few minutes and try again.",
        ),
        (503, Language::Japanese) => words(
            "アプリケーションを利用できません",
            "アクセスは許可されていますが、現在アプリケーションに接続できません。",
            "数分待ってから、もう一度お試しください。",
        ),
        (504, Language::English) => words(
            "The application takes too long",
            "You have access, but the application did not answer in time.",
            "Try again. If you were saving something, check first whether it was saved.",
        ),
        (504, Language::Japanese) => words(
            "アプリケーションの応答がありません",
            "アクセスは許可されていますが、アプリケーションから時間内に応答がありませんでした。",
            "もう一度お試しください。保存や送信の途中だった場合は、先に結果を確認してください。",
        ),
        (408, Language::English) => words(
            "The request took too long",
            "The request did not arrive completely in time.",
            "Check your connection and try again.",
        ),
        (408, Language::Japanese) => words(
            "送信に時間がかかりすぎました",
            "リクエストが時間内に最後まで届きませんでした。",
            "ネットワークの接続を確認して、もう一度お試しください。",
        ),
        (_, Language::English) => words(
            "The application did not answer properly",
            "You have access, but the application broke off or gave an answer that makes no sense.",
            "Try again. If you were saving something, check first whether it was saved.",
        ),
        (_, Language::Japanese) => words(
            "アプリケーションから正しい応答がありません",
            "アクセスは許可されていますが、アプリケーションの応答が途切れたか、正しくありませんでした。",
            "もう一度お試しください。保存や送信の途中だった場合は、先に結果を確認してください。",
        ),
    }
}

/// One sentence that names the setting and says what is wrong with it.
pub(crate) fn of_posture(fault: PostureFault, language: Language) -> String {
    let name = posture_name(fault.attribute(), language);
    match (fault, language) {
        (PostureFault::Missing(_), Language::English) => format!("{name}: never reported."),
        (PostureFault::Stale(_), Language::English) => {
            format!("{name}: last reported too long ago.")
        }
        (PostureFault::Failing(_), Language::English) => format!("{name}: not in order."),
        (PostureFault::Missing(_), Language::Japanese) => format!("{name}：報告がありません。"),
        (PostureFault::Stale(_), Language::Japanese) => format!("{name}：前回の報告が古すぎます。"),
        (PostureFault::Failing(_), Language::Japanese) => {
            format!("{name}：条件を満たしていません。")
        }
    }
}

pub(crate) fn posture_name(attribute: PostureAttribute, language: Language) -> &'static str {
    let (english, japanese) = match attribute {
        PostureAttribute::DiskEncrypted => ("Disk encryption", "ディスクの暗号化"),
        PostureAttribute::FirewallEnabled => ("Firewall", "ファイアウォール"),
        PostureAttribute::AntivirusRunning => ("Malware protection", "マルウェア対策ソフト"),
        PostureAttribute::AntivirusCurrent => (
            "Malware definitions up to date",
            "マルウェア対策ソフトの定義ファイルの更新",
        ),
        PostureAttribute::EdrRunning => {
            ("Endpoint detection agent (EDR)", "EDR（端末の監視ソフト）")
        }
        PostureAttribute::ScreenLock => ("Automatic screen lock", "画面の自動ロック"),
        PostureAttribute::SecureBoot => ("Secure boot", "セキュアブート"),
        PostureAttribute::IntegrityIntact => (
            "System integrity (no jailbreak or root)",
            "システムの完全性（改造されていないこと）",
        ),
        PostureAttribute::PatchesCurrent => ("Security updates", "セキュリティ更新プログラム"),
        PostureAttribute::OsSupported => (
            "Operating system still supported by its maker",
            "サポート期間内の OS",
        ),
        PostureAttribute::Managed => ("Device management", "端末管理への登録"),
        PostureAttribute::Compliant => (
            "Verdict of the device management",
            "端末管理による準拠の判定",
        ),
        PostureAttribute::OsVersion => ("Version of the operating system", "OS のバージョン"),
    };
    match language {
        Language::English => english,
        Language::Japanese => japanese,
    }
}

/// How to put one setting right.
pub(crate) fn posture_remedy(attribute: PostureAttribute, language: Language) -> &'static str {
    let (english, japanese) = match attribute {
        PostureAttribute::DiskEncrypted => (
            "Turn on BitLocker, FileVault or the device's own encryption in the system settings.",
            "システムの設定で、BitLocker、FileVault などのディスクの暗号化を有効にしてください。",
        ),
        PostureAttribute::FirewallEnabled => (
            "Turn on the firewall in the system's security settings.",
            "システムのセキュリティ設定で、ファイアウォールを有効にしてください。",
        ),
        PostureAttribute::AntivirusRunning => (
            "Start your malware protection and turn on real-time protection.",
            "マルウェア対策ソフトを起動し、リアルタイム保護を有効にしてください。",
        ),
        PostureAttribute::AntivirusCurrent => (
            "Open your malware protection and update its definitions.",
            "マルウェア対策ソフトを開き、定義ファイルを更新してください。",
        ),
        PostureAttribute::EdrRunning => (
            "Restart the device. If the agent still does not run, contact your help desk.",
            "端末を再起動してください。それでも動作しない場合は、ヘルプデスクにご連絡ください。",
        ),
        PostureAttribute::ScreenLock => (
            "Set the screen to lock itself and to ask for a password, PIN or fingerprint.",
            "画面が自動でロックされ、解除にパスワード、PIN または指紋が必要になるよう設定してください。",
        ),
        PostureAttribute::SecureBoot => (
            "Secure boot is set in the firmware. Ask your help desk to turn it on.",
            "セキュアブートはファームウェアの設定です。ヘルプデスクに設定を依頼してください。",
        ),
        PostureAttribute::IntegrityIntact => (
            "Stop using this device for work and contact your help desk.",
            "この端末を業務に使用せず、ヘルプデスクにご連絡ください。",
        ),
        PostureAttribute::PatchesCurrent => (
            "Install all pending system updates and restart the device.",
            "未適用の更新プログラムをすべて適用し、端末を再起動してください。",
        ),
        PostureAttribute::OsSupported | PostureAttribute::OsVersion => (
            "Update the operating system to a current version.",
            "OS を新しいバージョンに更新してください。",
        ),
        PostureAttribute::Managed => (
            "Enrol the device in device management, or ask your help desk to do it.",
            "端末を端末管理に登録するか、ヘルプデスクに登録を依頼してください。",
        ),
        PostureAttribute::Compliant => (
            "Open the company portal or management software; it shows what is missing.",
            "ポータルサイトアプリまたは端末管理ソフトを開き、不足している項目を確認してください。",
        ),
    };
    match language {
        Language::English => english,
        Language::Japanese => japanese,
    }
}
