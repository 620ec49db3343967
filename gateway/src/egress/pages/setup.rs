//! How browsers and programs are set up: the instructions of `masugata setup`, for people who have a browser and no
//! configuration. Programs get them as plain text.

use std::fmt;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::super::setup::{self, Client, SetupFacts, Step};
use super::answer;
use crate::config::text::Vocabulary as _;
use crate::respond::{Brand, Escaped, Format, Framed, Host, Language, Powers, Preferences};

/// Where the list of clients is, on the host of the page; below it one page for each.
pub const PATH: &str = "/setup";

/// What is asked for by a path under [`PATH`]; `None`: nothing that exists.
pub fn asked(path: &str) -> Option<Asked> {
    let rest = path.strip_prefix(PATH)?;
    match rest.strip_prefix('/') {
        None | Some("") if rest.len() <= 1 => Some(Asked::List),
        None => None,
        Some(word) => {
            let mut words = Client::WORDS.iter();
            let found = words.find(|(known, ..)| *known == word);
            found.map(|(_, client, _)| Asked::One(*client))
        }
    }
}

/// See [`asked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    List,
    One(Client),
}

/// What the page needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    pub brand: &'a Brand,
    pub facts: &'a SetupFacts,
    /// Names of all PAC files.
    pub files: &'a [&'a str],
    /// Which of them was asked for by name.
    pub file: Option<&'a str>,
}

/// The list, or the instructions for one client.
pub fn page(setup: &Setup<'_>, asked: Asked, preferences: Preferences) -> Response<Bytes> {
    let language = preferences.language;
    let content = match preferences.format {
        Format::Problem => {
            let text = match asked {
                Asked::List => list(language),
                Asked::One(client) => setup::text(client, setup.facts, language),
            };
            ("text/plain; charset=utf-8", text.into_bytes())
        }
        Format::Page => {
            let words = words(language);
            let body = Body {
                setup,
                asked,
                language,
                words: &words,
            };
            let title = match asked {
                Asked::List => words.title,
                Asked::One(client) => name(client, language),
            };
            let framed = Framed {
                language,
                brand: setup.brand,
                host: Host::Ours,
                title,
                other_language: None,
                scripts: &[],
                wide: false,
                body: &body,
                footer: words.footer,
            };
            ("text/html; charset=utf-8", framed.to_string().into_bytes())
        }
    };
    answer(
        StatusCode::OK,
        content,
        setup.brand.policy(Powers::Still),
        preferences,
    )
}

fn list(language: Language) -> String {
    let lines = Client::ALL.iter().map(|client| {
        let name = name(*client, language);
        format!("{PATH}/{:<9} {name}\n", client.word())
    });
    lines.collect()
}

struct Words {
    title: &'static str,
    intro: &'static str,
    back: &'static str,
    all: &'static str,
    proxy: &'static str,
    pac: &'static str,
    files: &'static str,
    footer: &'static str,
}

fn words(language: Language) -> Words {
    match language {
        Language::English => Words {
            title: "How to set up browsers and programs",
            intro: "Programs reach the Internet through the company's gateway. Company devices are usually set up already; what you see here is for whoever does it, and for programs that were left out.",
            back: "Why was this blocked?",
            all: "All programs",
            proxy: "Proxy",
            pac: "PAC file",
            files: "PAC files",
            footer: "Certificates and keys never belong into a message or a ticket.",
        },
        Language::Japanese => Words {
            title: "ブラウザーやソフトウェアの設定方法",
            intro: "インターネットへの接続は会社のゲートウェイを通ります。会社の端末は通常すでに設定されています。ここでは、設定を行う担当者の方と、まだ設定されていないソフトウェアのための手順を説明します。",
            back: "なぜブロックされたのですか？",
            all: "一覧に戻る",
            proxy: "プロキシ",
            pac: "PAC ファイル",
            files: "PAC ファイル",
            footer: "証明書や秘密鍵を、メールやお問い合わせに添付しないでください。",
        },
    }
}

fn name(client: Client, language: Language) -> &'static str {
    match (client, language) {
        (Client::Chrome, _) => "Chrome, Chromium",
        (Client::Edge, _) => "Microsoft Edge",
        (Client::Firefox, _) => "Firefox",
        (Client::Macos, _) => "macOS",
        (Client::Windows, _) => "Windows",
        (Client::Ios, _) => "iPhone, iPad",
        (Client::Android, _) => "Android",
        (Client::Curl, _) => "curl",
        (Client::Git, _) => "git",
        (Client::Pip, _) => "pip",
        (Client::Npm, _) => "npm",
        (Client::Apt, _) => "apt",
        (Client::Docker, _) => "Docker",
        (Client::Connect, Language::English) => "Everything else: masugata connect",
        (Client::Connect, Language::Japanese) => "その他（masugata connect）",
    }
}

struct Body<'a> {
    setup: &'a Setup<'a>,
    asked: Asked,
    language: Language,
    words: &'a Words,
}

impl fmt::Display for Body<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words;
        match self.asked {
            Asked::List => {
                writeln!(out, "<nav><a href=\"/\">{}</a></nav>", words.back)?;
                writeln!(
                    out,
                    "<h1>{}</h1>\n<p>{}</p>\n<ul class=\"links\">",
                    words.title, words.intro
                )?;
                for client in Client::ALL {
                    let (word, name) = (client.word(), name(client, self.language));
                    writeln!(out, "<li><a href=\"{PATH}/{word}\">{name}</a></li>")?;
                }
                writeln!(out, "</ul>")?;
                self.write_facts(out)
            }
            Asked::One(client) => {
                writeln!(out, "<nav><a href=\"{PATH}\">{}</a></nav>", words.all)?;
                writeln!(out, "<h1>{}</h1>", name(client, self.language))?;
                self.write_choice(out)?;
                for step in setup::steps(client, self.setup.facts, self.language) {
                    write_step(out, &step)?;
                }
                Ok(())
            }
        }
    }
}

impl Body<'_> {
    fn write_facts(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, facts) = (self.words, self.setup.facts);
        let proxy = Escaped(&facts.proxy);
        writeln!(
            out,
            "<dl>\n<dt>{}</dt><dd><code>{proxy}</code></dd>",
            words.proxy
        )?;
        if let Some(pac) = &facts.pac {
            let pac = Escaped(pac);
            writeln!(out, "<dt>{}</dt><dd><code>{pac}</code></dd>", words.pac)?;
        }
        writeln!(out, "</dl>")
    }

    /// Which PAC file the instructions name, where there are several.
    fn write_choice(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.setup.files;
        if files.len() < 2 {
            return Ok(());
        }
        let shown = self.setup.file.or(files.first().copied());
        write!(out, "<nav>{}:", self.words.files)?;
        for file in files {
            let file = Escaped(file);
            if shown == Some(file.0) {
                write!(out, " <strong>{file}</strong>")?;
            } else {
                write!(out, " <a href=\"?pac={file}\">{file}</a>")?;
            }
        }
        writeln!(out, "</nav>")
    }
}

fn write_step(out: &mut fmt::Formatter<'_>, step: &Step) -> fmt::Result {
    match step {
        Step::File { name, content } => {
            let (name, content) = (Escaped(name), Escaped(content));
            writeln!(
                out,
                "<h2><code>{name}</code></h2>\n<pre tabindex=\"0\"><code>{content}</code></pre>"
            )
        }
        Step::Say(text) => {
            write!(out, "<p>")?;
            for (place, part) in text.split('`').enumerate() {
                let part = Escaped(part);
                if place % 2 == 0 {
                    write!(out, "{part}")?;
                } else {
                    write!(out, "<code>{part}</code>")?;
                }
            }
            writeln!(out, "</p>")
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Request, header};

    use super::*;

    fn facts() -> SetupFacts {
        SetupFacts {
            proxy: "proxy.corp.example:8443".to_owned(),
            pac: Some("https://pac.corp.example/<staff>.pac".to_owned()),
            why: Some("https://why.corp.example/".to_owned()),
            passwords: true,
        }
    }

    fn wants(accept: &str, language: &str) -> Preferences {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
        headers.insert(
            header::ACCEPT_LANGUAGE,
            HeaderValue::from_str(language).unwrap(),
        );
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = Method::GET;
        head.headers = headers;
        Preferences::of(&head)
    }

    fn shown(asked: Asked, accept: &str, language: &str) -> String {
        let brand = Brand::load(&crate::config::Pages {
            logo: None,
            colour: None,
            organisation: "Kura & Co".to_owned(),
            contact: None,
        })
        .unwrap();
        let setup = Setup {
            brand: &brand,
            facts: &facts(),
            files: &["staff", "guests"],
            file: None,
        };
        let response = page(&setup, asked, wants(accept, language));
        assert_eq!(response.status(), StatusCode::OK);
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    #[test]
    fn only_what_exists_is_asked_for() {
        assert_eq!(asked("/setup"), Some(Asked::List));
        assert_eq!(asked("/setup/"), Some(Asked::List));
        assert_eq!(asked("/setup/git"), Some(Asked::One(Client::Git)));
        for path in [
            "/",
            "/setupgit",
            "/setup/Git",
            "/setup/git/",
            "/setup//",
            "/setup/x",
        ] {
            assert_eq!(asked(path), None, "{path}");
        }
    }

    #[test]
    fn every_client_is_in_the_list_and_has_a_page_in_both_languages() {
        for language in ["en", "ja"] {
            let list = shown(Asked::List, "text/html", language);
            for client in Client::ALL {
                let link = format!("href=\"/setup/{}\"", client.word());
                assert!(list.contains(&link), "{link}");
                let page = shown(Asked::One(client), "text/html", language);
                assert!(page.contains("<pre"), "{page}");
                assert!(!page.contains('`'), "{page}");
                assert!(!page.contains("<staff>"), "{page}");
                assert!(page.contains("<a href=\"?pac=guests\">"), "{page}");
            }
        }
    }

    #[test]
    fn programs_get_what_the_command_prints() {
        let text = shown(Asked::One(Client::Git), "*/*", "ja");
        assert_eq!(text, setup::text(Client::Git, &facts(), Language::Japanese));
        assert!(shown(Asked::List, "*/*", "en").contains("/setup/curl      curl\n"));
    }
}
