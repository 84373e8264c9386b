//! The `providers` section: services whose id tokens are taken, each under a name of its own.

use std::path::PathBuf;

use super::Values;

const SECTION: &str = "providers";
const NAME_MAX_BYTES: usize = 32;

/// A service that says who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// What it is called in requests.
    pub name: String,
    /// What its tokens call it, exactly; one of these.
    pub issuers: Vec<String>,
    /// What its tokens call us, exactly; one of these.
    pub audiences: Vec<String>,
    /// Its public keys: a JSON Web Key Set, or one in PEM form.
    pub jwks_file: PathBuf,
}

pub(super) fn take(values: &mut Values) -> Vec<Provider> {
    values.names_under(SECTION).into_iter().filter_map(|name| take_one(values, name)).collect()
}

fn take_one(values: &mut Values, name: String) -> Option<Provider> {
    if !is_name(&name) {
        values.problem(format!("{SECTION}.{name}: a name has 1 to {NAME_MAX_BYTES} of a-z, 0-9, _ and -"));
    }
    let mut part = |part: &str| {
        let full = format!("{SECTION}.{name}.{part}");
        let given: Vec<String> = values.list(&full, "a text").unwrap_or_default();
        if given.is_empty() {
            values.problem(format!("{full} is missing"));
        }
        Some(given).filter(|given| !given.is_empty())
    };
    let (issuers, audiences, jwks_file) = (part("issuers"), part("audiences"), part("jwks_file"));
    // A path may have commas in it.
    let jwks_file = jwks_file?.join(",").into();
    Some(Provider { issuers: issuers?, audiences: audiences?, jwks_file, name })
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> (Vec<Provider>, Vec<String>) {
        let mut values = Values::from_toml(text);
        let providers = take(&mut values);
        (providers, values.finish().err().unwrap_or_default().0)
    }

    #[test]
    fn provider_section_becomes_named_provider() {
        let (providers, problems) = taken(
            "[providers.my-idp_2]\nissuers = \"https://b.example\"\naudiences = \"weir\"\njwks_file = \"b.json\"\n\
             [providers.my]\nissuers = \"https://a.example\"\naudiences = \"app\"\njwks_file = \"/etc/a.json\"\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        let provider = |name: &str, issuer: &str, audience: &str, jwks_file: &str| Provider {
            name: name.into(),
            issuers: vec![issuer.into()],
            audiences: vec![audience.into()],
            jwks_file: jwks_file.into(),
        };
        let expected = [
            provider("my-idp_2", "https://b.example", "weir", "b.json"),
            provider("my", "https://a.example", "app", "/etc/a.json"),
        ];
        assert_eq!(providers, expected);
        assert_eq!(taken(""), (vec![], vec![]));
    }

    #[test]
    fn provider_with_several_issuers_and_audiences_has_them_all() {
        let (providers, problems) = taken(
            "[providers.google]\nissuers = [\"https://accounts.google.com\", \"accounts.google.com\"]\n\
             audiences = [\"web\", \"app\"]\njwks_file = \"g.json\"\n",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(providers[0].issuers, ["https://accounts.google.com", "accounts.google.com"]);
        assert_eq!(providers[0].audiences, ["web", "app"]);
    }

    #[test]
    fn provider_key_missing_or_unknown_is_named_in_full() {
        let (providers, problems) = taken(
            "providers.flat = \"x\"\n\
             [providers.idp]\nissuers = \"https://a.example\"\naudiences = \" \"\njwks = \"a.json\"\n\
             [providers.idp.deeper]\nissuers = \"x\"\n",
        );
        assert_eq!(providers, []);
        assert_eq!(problems.len(), 5, "{problems:#?}");
        for (problem, expected) in problems.iter().zip([
            "providers.idp.audiences is missing",
            "providers.idp.jwks_file is missing",
            "unknown key providers.flat (in the environment: WEIR_PROVIDERS__FLAT)",
            "unknown key providers.idp.deeper.issuers (in the environment: WEIR_PROVIDERS__IDP__DEEPER__ISSUERS)",
            "unknown key providers.idp.jwks (in the environment: WEIR_PROVIDERS__IDP__JWKS)",
        ]) {
            assert_eq!(problem, expected);
        }
    }

    #[test]
    fn provider_name_invalid_is_refused() {
        for name in ["Google", "a b", "ä", &"x".repeat(33)] {
            let section = format!("[providers.\"{name}\"]\nissuers = \"i\"\naudiences = \"a\"\njwks_file = \"f\"");
            let (_, problems) = taken(&section);
            assert!(problems.len() == 1 && problems[0].contains("a name has 1 to 32"), "{name}: {problems:#?}");
        }
    }
}
