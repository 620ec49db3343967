//! What a provider says about a person outside the ID Token: the UserInfo endpoint (OpenID Connect Core §5.3), and
//! Microsoft Graph for groups that did not fit.
//!
//! Leaving groups out silently could silence a policy that forbids, so there is a whole list or no sign-in.

use http::{HeaderValue, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::exchange::Granted;
use super::{Provider, SignInError};
use crate::config::sign_in::Overage;
use crate::issuer::{
    Answer, CredentialError, IdToken, Location, Object, Person, ProviderMetadata, Question,
    TokenFault, parse_object,
};

/// Microsoft Graph of the worldwide cloud.
pub(super) const GRAPH: &str = "https://graph.microsoft.com/v1.0";

/// The first page of all groups, also those through other groups. Of single groups only the id is asked for.
const MEMBERSHIPS: &str = "/me/transitiveMemberOf?$select=id&$top=999";

/// Pages that are read, and groups that are taken; more would not be accepted from a token either.
const MAX_PAGES: usize = 20;
const MAX_GROUPS: usize = 1_000;

impl Provider {
    /// The person in a verified ID Token, with what else the configuration wants to be asked for.
    pub(super) async fn person(
        &self,
        token: &IdToken,
        granted: &Granted,
        metadata: &ProviderMetadata,
    ) -> Result<Person, SignInError> {
        let left_out = self.issuer.leaves_groups_out(token.claims());
        let overage = self.client().overage;
        if left_out && overage == Overage::Refuse {
            return Err(SignInError::GroupsLeftOut(
                "the configuration does not say where to ask for them (`overage`)".into(),
            ));
        }
        let access_token = &granted.access_token;
        let ask = self.client().userinfo || (left_out && overage == Overage::UserInfo);
        let userinfo = match ask {
            true => Some(self.userinfo(token, access_token, metadata).await?),
            false => None,
        };
        let mut groups = None;
        if left_out {
            match (overage, &userinfo) {
                (Overage::MicrosoftGraph, _) => {
                    groups = Some(self.graph_groups(access_token).await?);
                }
                (Overage::UserInfo | Overage::Refuse, Some(userinfo))
                    if self.issuer.names_groups(userinfo)
                        && !self.issuer.leaves_groups_out(userinfo) => {}
                (Overage::UserInfo | Overage::Refuse, _) => {
                    return Err(SignInError::GroupsLeftOut(
                        "UserInfo does not have them either".into(),
                    ));
                }
            }
        }
        self.issuer
            .person(token, userinfo.as_ref(), groups.as_deref())
            .map_err(|fault| match fault {
                TokenFault::Overage(claim) => SignInError::GroupsLeftOut(claim),
                other => SignInError::Token(CredentialError::Invalid(other)),
            })
    }

    async fn userinfo(
        &self,
        token: &IdToken,
        access_token: &SecretString,
        metadata: &ProviderMetadata,
    ) -> Result<Object, SignInError> {
        let endpoint = metadata
            .userinfo
            .as_ref()
            .ok_or_else(|| self.metadata_fault("it has no `userinfo_endpoint`"))?;
        let answer = self.bearer(&endpoint.location, access_token).await?;
        let userinfo = self.object(&answer, "UserInfo")?;
        // §5.3.2: otherwise one person's token could be decorated with another's claims.
        if userinfo.get("sub").and_then(Value::as_str) != Some(&*token.subject) {
            return Err(SignInError::OtherSubject("UserInfo"));
        }
        Ok(userinfo)
    }

    async fn graph_groups(&self, access_token: &SecretString) -> Result<Vec<String>, SignInError> {
        let wrong = || self.unavailable("Microsoft Graph: an answer that is no list of groups");
        let first = Location::parse(&format!("{}{MEMBERSHIPS}", self.graph));
        let first = first.map_err(|_| wrong())?;
        let mut next = Some(first.clone());
        let mut groups = Vec::new();
        for _ in 0..MAX_PAGES {
            let Some(page) = next.take() else {
                return Ok(groups);
            };
            let answer = self.bearer(&page, access_token).await?;
            let page = self.object(&answer, "Microsoft Graph")?;
            let members = page.get("value").and_then(Value::as_array);
            for member in members.ok_or_else(wrong)? {
                let kind = member.get("@odata.type").and_then(Value::as_str);
                // Roles of the directory and administrative units are memberships too.
                if kind.is_some_and(|kind| kind != "#microsoft.graph.group") {
                    continue;
                }
                let id = member.get("id").and_then(Value::as_str);
                let id = id.filter(|id| !id.is_empty() && id.len() <= 256);
                groups.push(id.ok_or_else(wrong)?.to_owned());
            }
            if groups.len() > MAX_GROUPS {
                break;
            }
            next = match page.get("@odata.nextLink") {
                None => None,
                Some(Value::String(link)) => {
                    let link = Location::parse(link).map_err(|_| wrong())?;
                    // The token goes with it, so it goes nowhere else.
                    if !link.same_server(&first) {
                        return Err(wrong());
                    }
                    Some(link)
                }
                Some(_) => return Err(wrong()),
            };
        }
        if next.is_none() && groups.len() <= MAX_GROUPS {
            return Ok(groups);
        }
        Err(SignInError::GroupsLeftOut(
            "there are more than 1000 of them".into(),
        ))
    }

    async fn bearer(
        &self,
        location: &Location,
        access_token: &SecretString,
    ) -> Result<Answer, SignInError> {
        let value = HeaderValue::try_from(format!("Bearer {}", access_token.expose_secret()))
            .map_err(|_| self.unavailable("an access token that cannot be sent"))?;
        let question = Question::get().with_authorization(value);
        self.transport
            .send(location, question)
            .await
            .map_err(|error| self.unavailable(&error.to_string()))
    }

    fn object(&self, answer: &Answer, what: &str) -> Result<Object, SignInError> {
        if answer.status != StatusCode::OK {
            return Err(self.unavailable(&format!("{what}: status {}", answer.status)));
        }
        let json = answer.content_type.as_ref().is_some_and(|kind| {
            let kind = kind.as_bytes().to_ascii_lowercase();
            kind.starts_with(b"application/json")
        });
        parse_object(&answer.body)
            .filter(|_| json)
            .ok_or_else(|| self.unavailable(&format!("{what}: not a JSON object")))
    }
}
