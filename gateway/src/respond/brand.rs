//! What a company makes of our pages: its name, logo, colour and help desk; computed once when a configuration is loaded,
//! with the policies (`Content-Security-Policy`) that go with it.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Response};

use super::logo::{LOGO_PATH, Logo, LogoError};
use super::style::{STYLE, in_colour};
use crate::config::Pages;

/// See the module's first lines.
#[derive(Debug)]
pub struct Brand {
    organisation: Box<str>,
    contact: Option<Box<str>>,
    /// The whole sheet, which the policies name by its hash.
    style: Box<str>,
    logo: Option<Logo>,
    policies: [HeaderValue; 4],
}

/// What a page may do beside being looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Powers {
    /// Nothing.
    Still,
    /// Send its forms to its own host.
    Forms,
    /// Send forms whose answer leads to another host: to a provider, or back to an app. Browsers hold redirects against
    /// the page that had the form, and where an app leads next is not known here.
    Leading,
    /// As `Leading`, and run our own scripts, which may ask our own host.
    Scripted,
}

impl Powers {
    const ALL: [Self; 4] = [Self::Still, Self::Forms, Self::Leading, Self::Scripted];

    fn directives(self) -> &'static str {
        match self {
            Self::Still => "form-action 'none'",
            Self::Forms => "form-action 'self'",
            Self::Leading => "form-action 'self' https:",
            Self::Scripted => "script-src 'self'; connect-src 'self'; form-action 'self' https:",
        }
    }
}

impl Brand {
    /// Reads the logo and computes the rest.
    ///
    /// # Errors
    /// [`LogoError`]; nothing else can fail.
    pub(crate) fn load(pages: &Pages) -> Result<Self, LogoError> {
        let logo = pages.logo.as_deref().map(Logo::load).transpose()?;
        let mut style = STYLE.to_owned();
        if let Some(colour) = pages.colour {
            style.push_str(&in_colour(colour));
        }
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, style.as_bytes()));
        let images = if logo.is_some() {
            "img-src 'self'; "
        } else {
            ""
        };
        let policies = Powers::ALL.map(|powers| {
            let policy = format!(
                "default-src 'none'; style-src 'sha256-{hash}'; {images}base-uri 'none'; {}; frame-ancestors 'none'",
                powers.directives()
            );
            HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
        });
        Ok(Self {
            organisation: pages.organisation.as_str().into(),
            contact: pages.contact.as_deref().map(Into::into),
            style: style.into(),
            logo,
            policies,
        })
    }

    /// The company's name.
    pub(crate) fn organisation(&self) -> &str {
        &self.organisation
    }

    /// The help desk: free text.
    pub(crate) fn contact(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    pub(super) fn style(&self) -> &str {
        &self.style
    }

    pub(super) fn has_logo(&self) -> bool {
        self.logo.is_some()
    }

    /// `Content-Security-Policy` of pages with these powers.
    pub(crate) fn policy(&self, powers: Powers) -> HeaderValue {
        let [still, forms, leading, scripted] = &self.policies;
        match powers {
            Powers::Still => still,
            Powers::Forms => forms,
            Powers::Leading => leading,
            Powers::Scripted => scripted,
        }
        .clone()
    }

    /// The logo, if that is what was asked for by GET or HEAD. Public: it stands also on the page that says that a device
    /// is not known.
    pub(crate) fn logo(&self, head: &Parts) -> Option<Response<Bytes>> {
        let logo = self.logo.as_ref()?;
        (head.uri.path() == LOGO_PATH).then(|| logo.answer(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages() -> Pages {
        Pages {
            organisation: "Kura".to_owned(),
            contact: None,
            logo: None,
            colour: None,
        }
    }

    #[test]
    fn the_policy_names_the_style_with_its_colour() {
        let plain = Brand::load(&pages()).unwrap();
        let colour = Some([0x0b, 0x3d, 0x91]);
        let coloured = Brand::load(&Pages { colour, ..pages() }).unwrap();
        for brand in [&plain, &coloured] {
            let digest = digest::digest(&digest::SHA256, brand.style().as_bytes());
            let hash = format!("'sha256-{}'", STANDARD.encode(digest));
            for powers in Powers::ALL {
                let policy = brand.policy(powers);
                assert!(policy.to_str().unwrap().contains(&hash), "{policy:?}");
            }
        }
        assert_ne!(plain.policy(Powers::Still), coloured.policy(Powers::Still));
    }

    #[test]
    fn no_page_may_more_than_it_needs() {
        let brand = Brand::load(&pages()).unwrap();
        for powers in Powers::ALL {
            let policy = brand.policy(powers);
            let policy = policy.to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
            assert!(policy.ends_with("; frame-ancestors 'none'"), "{policy}");
            assert!(policy.contains("; base-uri 'none'; "), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(!policy.contains("img-src"), "{policy}");
            let scripts = powers == Powers::Scripted;
            assert_eq!(policy.contains("script-src 'self'"), scripts, "{policy}");
        }
    }

    #[test]
    fn a_logo_allows_pictures_of_our_own() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("logo.svg");
        std::fs::write(&file, "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
        let logo = Some(file);
        let brand = Brand::load(&Pages { logo, ..pages() }).unwrap();
        let policy = brand.policy(Powers::Still);
        assert!(policy.to_str().unwrap().contains("img-src 'self'; "));
        let ask = |path: &str| {
            let head = http::Request::get(path).body(()).unwrap().into_parts().0;
            brand.logo(&head).is_some()
        };
        assert!(ask("/.masugata/logo"));
        assert!(!ask("/.masugata/logo/"));
        let none = Brand::load(&pages()).unwrap();
        let head = http::Request::get(LOGO_PATH)
            .body(())
            .unwrap()
            .into_parts()
            .0;
        assert!(none.logo(&head).is_none());
    }
}
