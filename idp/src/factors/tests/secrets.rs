//! Nothing that can be formatted or recorded holds a secret, nor does the file of accounts.

use std::fmt::Write as _;
use std::fs;

use super::*;
use crate::accounts::tests::settings;
use crate::event::Actor;

#[tokio::test]
async fn what_is_formatted_told_or_stored_holds_no_secret() {
    let bed = Bed::new();
    let mut said = String::new();
    let mut planted = vec![LONG.to_owned(), SHORT.to_owned()];
    let mut say = |thing: &dyn std::fmt::Debug| write!(said, "{thing:?} {thing:#?}").unwrap();

    bed.add("ada").await;
    let link = bed.link("ada").await;
    planted.push(link.token.expose_secret().to_owned());
    say(&link);
    let welcome = bed.accounts.open_link(&link.token, at(NOW)).unwrap();
    planted.push(welcome.handle.clone());
    say(&welcome);
    let right = Right::Welcome(&welcome.handle);
    say(&right);
    let offer = bed.accounts.begin_totp(right, at(NOW)).unwrap();
    say(&offer);
    let shown = offer.secret.expose_secret();
    let app = read_base32(shown);
    planted.push(shown.to_owned());
    planted.push(shown.replace(' ', ""));
    planted.push(offer.handle.clone());
    let code = code_of(&app, NOW);
    let totp = CodeFor {
        handle: &offer.handle,
        code: &code,
    };
    say(&totp);
    let proved = bed
        .accounts
        .set_password(right, secret(SHORT), Some(totp), at(NOW))
        .await;
    say(&proved);
    let codes = bed
        .accounts
        .make_recovery_codes("ada", at(NOW))
        .await
        .unwrap();
    say(&codes);
    for code in &codes {
        planted.push(code.expose_secret().to_owned());
        planted.push(code.expose_secret().replace('-', ""));
    }
    let outcome = bed
        .accounts
        .check_password("ada", secret(SHORT), at(NOW))
        .await
        .unwrap();
    say(&outcome);
    let PasswordOutcome::NeedsCode { handle } = outcome else {
        panic!("a code is needed");
    };
    planted.push(handle.clone());
    say(&bed.accounts.check_code(&handle, "000000", at(NOW)).await);
    say(&bed
        .accounts
        .check_recovery_code(&handle, codes[0].expose_secret(), at(NOW))
        .await);
    say(&bed
        .accounts
        .check_password("ada", secret(LONG), at(NOW))
        .await);
    say(&bed
        .accounts
        .recover("ada", codes[1].expose_secret(), at(NOW))
        .await);
    let ceremony = bed
        .accounts
        .begin_passkey_sign_in(Some("ada"), at(NOW))
        .unwrap();
    planted.push(ceremony.handle.clone());
    say(&ceremony);
    let refused = bed
        .accounts
        .finish_passkey_sign_in(&ceremony.handle, LONG, at(NOW))
        .await;
    say(&refused);
    let imported = bed
        .accounts
        .import_csv(b"user\nbob\n".to_vec(), Actor::Administrator, NOW)
        .await;
    let imported = imported.unwrap();
    planted.push(imported[0].link.token.expose_secret().to_owned());
    say(&imported);
    let reset = bed
        .accounts
        .reset("bob", Actor::Administrator, NOW)
        .await
        .unwrap();
    planted.push(reset.token.expose_secret().to_owned());
    say(&reset);
    say(&bed.accounts.list());
    say(&settings());
    let record = bed.accounts.inner.find("ada").unwrap();
    planted.push(record.password.as_ref().unwrap().hash.to_string());
    let hash = planted.pop().unwrap();
    say(&bed.told());
    let listed = serde_json::to_string(&bed.accounts.list()).unwrap();

    assert!(!said.contains(&hash) && !listed.contains(&hash));
    let stored = fs::read(bed.directory.path().join("accounts.redb")).unwrap();
    for secret in &planted {
        assert!(!said.contains(secret), "{secret} was said");
        assert!(!listed.contains(secret), "{secret} is listed");
        let stored = stored
            .windows(secret.len())
            .any(|bytes| bytes == secret.as_bytes());
        assert!(!stored, "{secret} is stored");
    }
    let numbers = serde_json::to_string(&app).unwrap();
    let stored = String::from_utf8_lossy(&stored);
    assert!(!stored.contains(numbers.trim_matches(['[', ']'])));
}

#[tokio::test]
async fn the_secret_of_an_app_is_of_no_use_in_another_account() {
    let bed = Bed::new();
    with_app(&bed, "ada").await;
    let sealed = bed
        .accounts
        .inner
        .find("ada")
        .unwrap()
        .totp
        .clone()
        .unwrap()
        .sealed;
    let keys = &bed.accounts.inner.keys;
    assert!(keys.unseal(&sealed, "ada").is_ok());
    assert!(keys.unseal(&sealed, "bob").is_err());
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(keys.unseal(&changed, "ada").is_err());
        assert!(keys.unseal(&sealed[..at], "ada").is_err());
    }
}
