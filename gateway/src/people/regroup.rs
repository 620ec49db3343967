//! Principals whose groups are provisioned: made once for each credential and each set of groups, so that decisions about
//! them can be remembered.

use std::sync::Arc;

use masugata_policy::Principal;
use quick_cache::sync::Cache;

/// See the module's first lines.
pub(crate) struct Regrouped(Cache<u64, Made>);

/// The groups, and the principal who has them.
type Made = (Arc<[Box<str>]>, Arc<Principal>);

/// As many as there are credentials in use at a time; the rest is made anew.
const MOST: usize = 16_384;

impl Default for Regrouped {
    fn default() -> Self {
        Self(Cache::new(MOST))
    }
}

impl Regrouped {
    /// The same person with exactly those groups, which are sorted.
    pub(crate) fn of(
        &self,
        principal: &Arc<Principal>,
        groups: &Arc<[Box<str>]>,
    ) -> Arc<Principal> {
        if principal.groups() == &**groups {
            return Arc::clone(principal);
        }
        let known = self.0.get(&principal.revision());
        if let Some((of, regrouped)) = known
            && (Arc::ptr_eq(&of, groups) || of == *groups)
        {
            return regrouped;
        }
        let regrouped = Arc::new(Principal::new(
            principal.kind(),
            principal.id(),
            principal.issuer(),
            principal.name(),
            groups.iter().cloned(),
            principal.roles().iter().cloned(),
        ));
        let value = (Arc::clone(groups), Arc::clone(&regrouped));
        self.0.insert(principal.revision(), value);
        regrouped
    }
}

#[cfg(test)]
mod tests {
    use masugata_policy::PrincipalKind;

    use super::*;

    #[test]
    fn provisioned_groups_replace_those_of_the_credential() {
        let none = [] as [&str; 0];
        let ada = Principal::new(PrincipalKind::User, "corp/ada", "corp", None, ["old"], none);
        let (ada, regrouped) = (Arc::new(ada), Regrouped::default());
        let groups = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let new: Arc<[Box<str>]> = groups(&["new"]);
        let first = regrouped.of(&ada, &new);
        assert_eq!((first.id(), first.groups()), ("corp/ada", &*new));
        assert_eq!(regrouped.of(&ada, &new).revision(), first.revision());
        let other = regrouped.of(&ada, &groups(&[]));
        assert!(other.groups().is_empty());
        let same = regrouped.of(&ada, &groups(&["old"]));
        assert!(Arc::ptr_eq(&same, &ada));
    }
}
