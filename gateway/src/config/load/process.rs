//! `[[limit]]`, `[lockout]`, `[audit]`, `[admin]`, `[assertion]`, `[pages]` and `[runtime]`.

use super::{Builder, Purpose, every, value_or, values};
use crate::config::text::{At, Vocabulary as _, Word, quoted};
use crate::config::{
    Admin, Assertion, Audit, Ingress, Limit, Lockout, OnOverflow, Pages, Runtime, defaults, raw,
};

impl Builder<'_> {
    pub(super) fn limits(&mut self, raw: Vec<raw::Limit>, apps: &[String]) -> Option<Vec<Limit>> {
        let names = raw.iter().filter_map(|limit| limit.name.as_ref());
        let names: Vec<_> = names
            .map(|name| (name.value.0.as_str(), name.span.start))
            .collect();
        self.no_duplicates("limit", names);
        every(raw.into_iter().map(|limit| self.limit(limit, apps)))
    }

    fn limit(&mut self, raw: raw::Limit, apps: &[String]) -> Option<Limit> {
        for app in raw.apps.iter().flatten() {
            self.check_known("app", app, apps, "apps are declared under `[[app]]`");
        }
        let words = raw
            .key
            .iter()
            .flatten()
            .map(|text| (text.value.0.word(), text.span.start));
        self.no_duplicates("key", words.collect::<Vec<_>>());
        let requests = raw.requests?;
        Some(Limit {
            name: raw.name?.value.0,
            key: raw.key?.into_iter().map(|text| text.value.0).collect(),
            apps: values(raw.apps).into_iter().map(|name| name.0).collect(),
            methods: values(raw.methods),
            requests,
            period: raw.period?.value,
            burst: raw.burst.unwrap_or(requests),
            mode: value_or(raw.mode, Word(defaults::LIMIT_MODE)).0,
        })
    }

    pub(super) fn lockout(&mut self, raw: raw::Lockout) -> Lockout {
        let number = |at: &Option<At<u32>>, default| at.as_ref().map_or(default, |at| at.value);
        let numbers = [&raw.lock_after, &raw.free_failures];
        let number_at = numbers.into_iter().flatten().map(|at| at.span.start).next();
        let delays = [&raw.max_delay, &raw.first_delay];
        let delay_at = delays
            .into_iter()
            .flatten()
            .map(|text| text.span.start)
            .next();
        let lockout = Lockout {
            free_failures: number(&raw.free_failures, defaults::FREE_FAILURES),
            first_delay: value_or(raw.first_delay, defaults::FIRST_DELAY),
            max_delay: value_or(raw.max_delay, defaults::MAX_DELAY),
            lock_after: number(&raw.lock_after, defaults::LOCK_AFTER),
            lock: value_or(raw.lock, defaults::LOCK),
            window: value_or(raw.window, defaults::LOCKOUT_WINDOW),
        };
        if lockout.lock_after <= lockout.free_failures {
            let message = format!(
                "`lock_after` ({}) is not above `free_failures` ({})",
                lockout.lock_after, lockout.free_failures
            );
            self.report.error(
                number_at.unwrap_or(0),
                message,
                "a lock comes after the failures that cost nothing".to_owned(),
            );
        }
        if lockout.max_delay < lockout.first_delay {
            let help = "delays grow from the first to the longest".to_owned();
            self.report.error(
                delay_at.unwrap_or(0),
                "`max_delay` is shorter than `first_delay`",
                help,
            );
        }
        lockout
    }

    pub(super) fn audit(&mut self, raw: Option<raw::Audit>) -> Option<Audit> {
        let raw = raw?;
        let on_overflow = raw
            .on_overflow
            .as_ref()
            .map_or(defaults::ON_OVERFLOW, |text| text.value.0);
        if let (Some(text), OnOverflow::DropAndCount) = (&raw.on_overflow, on_overflow) {
            let help = "what happens then can be counted afterwards, but not told".to_owned();
            self.report.warning(
                text.span.start,
                "requests are let through without a record while the disk is full",
                help,
            );
        }
        let file = raw.file?;
        Some(Audit {
            file: self.file(&file, Purpose::Record),
            queue: raw.queue.unwrap_or(defaults::AUDIT_QUEUE),
            on_overflow,
            sync_interval: value_or(raw.sync_interval, defaults::SYNC_INTERVAL),
            query: raw.query.unwrap_or(defaults::AUDIT_QUERY),
        })
    }

    pub(super) fn admin(&mut self, raw: raw::Admin, ingress: Option<&Ingress>) -> Admin {
        let at = raw.listen.as_ref().map_or(0, |text| text.span.start);
        let listen = value_or(raw.listen, defaults::ADMIN_LISTEN);
        if !raw.enabled.unwrap_or(true) {
            return Admin { listen: None };
        }
        if !listen.ip().is_loopback() && raw.allow_remote != Some(true) {
            let message = format!(
                "the admin listener would be open to other machines at {}",
                quoted(&listen.to_string())
            );
            let help = "listen on `127.0.0.1` or `[::1]`, or write `allow_remote = true` and see to who can reach it";
            self.report.error(at, message, help.to_owned());
        }
        // Port 0 is a port of its own every time.
        if listen.port() != 0 && ingress.is_some_and(|ingress| ingress.listen.contains(&listen)) {
            let message = format!(
                "{} is also an address of `[ingress]`",
                quoted(&listen.to_string())
            );
            self.report.error(
                at,
                message,
                "give the admin listener a port of its own".to_owned(),
            );
        }
        Admin {
            listen: Some(listen),
        }
    }

    pub(super) fn assertion(&mut self, raw: raw::Assertion) -> Assertion {
        Assertion {
            issuer: raw.issuer.map_or_else(
                || defaults::ASSERTION_ISSUER.to_owned(),
                |text| text.value.0,
            ),
            key: raw.key.map(|path| self.file(&path, Purpose::PrivateKey)),
            lifetime: value_or(raw.lifetime, defaults::ASSERTION_LIFETIME),
        }
    }

    pub(super) fn pages(&mut self, raw: raw::Pages) -> Pages {
        if let Some(logo) = &raw.logo
            && !(logo.value.0.ends_with(".svg") || logo.value.0.ends_with(".png"))
        {
            self.report.error(
                logo.span.start,
                format!("{} is neither `.svg` nor `.png`", quoted(&logo.value.0)),
                "the ending says what browsers are told".to_owned(),
            );
        }
        Pages {
            organisation: raw
                .organisation
                .map_or_else(|| defaults::ORGANISATION.to_owned(), |text| text.value.0),
            contact: raw.contact.map(|text| text.value.0),
            logo: raw.logo.map(|path| self.file(&path, Purpose::Logo)),
            colour: raw.colour.map(|colour| colour.value.0),
        }
    }
}

pub(super) fn runtime(raw: raw::Runtime) -> Runtime {
    Runtime {
        workers: raw.workers.unwrap_or_else(defaults::workers),
        watch: raw.watch.unwrap_or(defaults::WATCH),
        log_format: value_or(raw.log_format, Word(defaults::LOG_FORMAT)).0,
        log_level: value_or(raw.log_level, Word(defaults::LOG_LEVEL)).0,
    }
}
