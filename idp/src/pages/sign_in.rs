//! The second way in: name and password, then a code or a recovery code.

use bytes::Bytes;
use http::Response;

use crate::factors::{PasswordOutcome, SignInRefusal};
use crate::provider::{Asking, Provider};

use super::ceremony::{Ceremony, Step};
use super::notice::Notice;
use super::{Posted, address, answer};

/// What is kept of a typed name, in characters.
const LONGEST_NAME: usize = 128;

impl Provider {
    pub(crate) async fn check_password(
        &self,
        asking: &Asking<'_>,
        posted: &Posted,
    ) -> Response<Bytes> {
        let ceremony = &posted.ceremony;
        // Also in place of a code that is waited for: the person went back.
        if !matches!(ceremony.step, Step::SignIn | Step::Code { .. }) {
            return self.next(asking, &ceremony.id, |_| ());
        }
        let name = posted.params.or_empty("name").trim();
        let kept = name.chars().take(LONGEST_NAME).collect();
        let password = posted.params.secret("password");
        match self
            .accounts
            .check_password(name, password, asking.visit())
            .await
        {
            Ok(PasswordOutcome::Done(proved)) => self.finish(asking, ceremony, &proved),
            Ok(PasswordOutcome::NeedsCode { handle }) => {
                self.next_renewed(asking, &ceremony.id, |ceremony| {
                    ceremony.name = kept;
                    ceremony.step = Step::Code { handle };
                })
            }
            Err(refusal) => self.next(asking, &ceremony.id, |ceremony| {
                ceremony.name = kept;
                ceremony.step = Step::SignIn;
                ceremony.notice = Some(Notice::of_refusal(refusal, asking.now()));
            }),
        }
    }

    pub(crate) async fn check_code(&self, asking: &Asking<'_>, posted: &Posted) -> Response<Bytes> {
        let ceremony = &posted.ceremony;
        let Step::Code { handle } = &ceremony.step else {
            return self.next(asking, &ceremony.id, |_| ());
        };
        let code = posted.params.or_empty("code").trim();
        match self.accounts.check_code(handle, code, asking.visit()).await {
            Ok(proved) => self.finish(asking, ceremony, &proved),
            Err(refusal) => self.refused_code(asking, ceremony, refusal, "/code"),
        }
    }

    /// In place of the code after a password; or, without one, in place of a lost passkey.
    pub(crate) async fn check_recovery(
        &self,
        asking: &Asking<'_>,
        posted: &Posted,
    ) -> Response<Bytes> {
        let ceremony = &posted.ceremony;
        let code = posted.params.or_empty("code").trim();
        match &ceremony.step {
            Step::Code { handle } => {
                let checked = self
                    .accounts
                    .check_recovery_code(handle, code, asking.visit());
                match checked.await {
                    Ok(proved) => self.finish(asking, ceremony, &proved),
                    Err(refusal) => self.refused_code(asking, ceremony, refusal, "/recovery"),
                }
            }
            Step::SignIn => self.recover(asking, posted, code).await,
            Step::Unmet { .. }
            | Step::Link
            | Step::Welcome { .. }
            | Step::Codes { .. }
            | Step::Ready { .. }
            | Step::Factors { .. } => self.next(asking, &ceremony.id, |_| ()),
        }
    }

    async fn recover(&self, asking: &Asking<'_>, posted: &Posted, code: &str) -> Response<Bytes> {
        let id = &posted.ceremony.id;
        let name = posted.params.or_empty("name").trim();
        match self.accounts.recover(name, code, asking.visit()).await {
            Ok(welcome) => self.next_renewed(asking, id, |ceremony| {
                ceremony.step = Step::Welcome {
                    handle: welcome.handle,
                    account: welcome.account.id,
                    offer: None,
                };
            }),
            Err(refusal) => {
                let kept = name.chars().take(LONGEST_NAME).collect();
                self.next(asking, id, |ceremony| {
                    ceremony.name = kept;
                    ceremony.notice = Some(Notice::of_refusal(refusal, asking.now()));
                });
                answer::see(&address("/recovery", id))
            }
        }
    }

    fn refused_code(
        &self,
        asking: &Asking<'_>,
        ceremony: &Ceremony,
        refusal: SignInRefusal,
        path: &str,
    ) -> Response<Bytes> {
        let notice = Some(Notice::of_refusal(refusal, asking.now()));
        let is_over = matches!(refusal, SignInRefusal::Expired | SignInRefusal::Disabled);
        let back = self.next(asking, &ceremony.id, |ceremony| {
            ceremony.notice = notice;
            if is_over {
                ceremony.step = Step::SignIn;
            }
        });
        if is_over {
            back
        } else {
            answer::see(&address(path, &ceremony.id))
        }
    }
}
