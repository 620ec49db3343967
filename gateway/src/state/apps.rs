//! Apps, ready to be asked for, their routes, and the service accounts.

use std::sync::Arc;

use ahash::AHashMap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Response};
use masugata_policy::{App as PolicyApp, Authentication, Credential, Principal, PrincipalKind};

use super::build::{Problems, problem};
use super::{AppState, Backend, Environment, ServiceAccount, State};
use crate::config::error::LoadError;
use crate::config::{self, Config};
use crate::forward::{AppForward, Instance};
use crate::framing;
use crate::limits::quota::Limits;
use crate::routes::{Route, RouteTable};

pub(super) fn build_apps(
    config: &Config,
    previous: Option<&State>,
    instance: &Arc<Instance>,
    limits: &Limits,
    environment: &Environment,
) -> Result<Vec<Arc<AppState>>, LoadError> {
    let mut problems = Problems::default();
    let mut apps = Vec::new();
    for app in &config.apps {
        let before = previous.and_then(|state| state.app(&app.name));
        let Some(backend) = problems.collect(build_backend(config, app, before, instance)) else {
            continue;
        };
        // The same app keeps its identity, and with it the decisions remembered for it.
        let policy = match before {
            Some(old) if old.config.level == app.level && old.config.groups == app.groups => {
                Arc::clone(&old.policy)
            }
            Some(_) | None => Arc::new(PolicyApp::new(
                &app.name,
                app.level,
                app.groups.iter().map(String::as_str),
            )),
        };
        apps.push(Arc::new(AppState {
            name: app.name.as_str().into(),
            config: Arc::new(app.clone()),
            policy,
            backend,
            limits: limits.for_app(&app.name),
            metrics: environment.metrics.app(&app.name),
        }));
    }
    let Problems(found) = problems;
    if found.is_empty() {
        Ok(apps)
    } else {
        Err(LoadError { problems: found })
    }
}

fn build_backend(
    config: &Config,
    app: &config::App,
    before: Option<&Arc<AppState>>,
    instance: &Arc<Instance>,
) -> Result<Backend, LoadError> {
    let mut answer = match &app.backend {
        config::Backend::Proxy(upstream) => {
            let group = before.and_then(|old| match &old.backend {
                Backend::Proxy(forward) => Some(forward.group()),
                Backend::Answer(_) => None,
            });
            let built = AppForward::build(app, upstream, instance, group);
            return built.map(Backend::Proxy).map_err(|error| {
                let file = error.path.as_deref().unwrap_or(&config.path);
                problem(file, format!("app `{}`: {error}", app.name), None)
            });
        }
        config::Backend::Redirect { status, location } => {
            let mut answer = Response::new(Bytes::new());
            *answer.status_mut() = *status;
            let location = HeaderValue::try_from(location.as_str()).map_err(|_error| {
                problem(
                    &config.path,
                    format!("app `{}`: `location` cannot stand in a header", app.name),
                    None,
                )
            })?;
            answer.headers_mut().insert(LOCATION, location);
            answer
        }
        config::Backend::Fixed {
            status,
            content_type,
            body,
        } => {
            let mut answer = Response::new(Bytes::from(body.clone()));
            *answer.status_mut() = *status;
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, content_type.clone());
            answer
        }
    };
    let headers = answer.headers_mut();
    // What was permitted to one person is not to be kept for another.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for name in &app.response_headers.remove {
        headers.remove(name);
    }
    for (name, value) in &app.response_headers.set {
        headers.insert(name, value.clone());
    }
    Ok(Backend::Answer(answer))
}

pub(super) fn build_routes(
    config: &Config,
    apps: &[Arc<AppState>],
) -> Result<RouteTable<Arc<AppState>>, LoadError> {
    let prefixes: Vec<_> = apps
        .iter()
        .map(|app| framing::decoded_path(&app.config.path_prefix))
        .collect();
    RouteTable::build(apps.iter().zip(&prefixes).map(|(app, prefix)| Route {
        hosts: &app.config.hosts,
        prefix,
        service: Arc::clone(app),
    }))
    .map_err(|conflict| problem(&config.path, conflict.to_string(), None))
}

pub(super) fn services(config: &Config) -> AHashMap<Box<str>, ServiceAccount> {
    let build = |account: &config::ServiceAccount| ServiceAccount {
        principal: Arc::new(Principal::new(
            PrincipalKind::Service,
            &account.name,
            "certificate",
            None,
            account.groups.iter().map(String::as_str),
            std::iter::empty::<&str>(),
        )),
        // A certificate is one factor; a program has no second. Apps that demand more do not take service accounts,
        // unless they say so in `require`.
        authentication: Arc::new(
            Authentication::new(false, false, None, ["pop"], None, true)
                .with_credential(Credential::Certificate),
        ),
    };
    config
        .services
        .iter()
        .map(|account| (account.device.as_str().into(), build(account)))
        .collect()
}
